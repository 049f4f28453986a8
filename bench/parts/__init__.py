"""Parts of the bench, each with its own section in bench/RESULTS.md.

Run one with `python -m bench.parts.NAME`.
"""
