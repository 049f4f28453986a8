"""Compares the speed of attune with other libraries at their best settings, measured in the same run.

Run from the project's root: `make bench`, or `python -m bench.parts.NAME`.
"""
