"""Holes in the judgments: documents that a system ranks high and nobody has judged, and what they may hide.

pool.py joins runs and judgments, bounds.py gives the worst and best case of base against tuned, condensed.py the
measures that look at judged documents only, pairs.py the pairs whose judgment matters most, figures.py all of it in
words and numbers for the report.
"""
