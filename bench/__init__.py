"""Performance of attune beside its rivals, at their best settings, in the same run.

Run from the project's root: `make bench`, or `python -m bench.parts.NAME`.
"""
