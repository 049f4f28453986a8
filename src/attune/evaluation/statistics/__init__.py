"""Uncertainty of a difference between two systems: intervals, paired tests, power, slices, corrections.

Scores per query in, intervals and p-values out.
"""
