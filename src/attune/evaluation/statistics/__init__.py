"""Uncertainty of a difference: bootstrap intervals, paired tests, power, slices, corrections for many comparisons.

Scores per query in, intervals and p-values out.
"""
