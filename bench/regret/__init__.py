"""Regret of attune with untouched settings against its rivals, over data sets and numbers of training pairs.

Run `make bench-regret`, or `python -m bench.regret`.
"""
