"""Parts of the bench: one question each, with its own table in bench/RESULTS.md.

Run one with `python -m bench.parts.NAME`.
"""
