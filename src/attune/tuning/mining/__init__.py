"""Hard negatives: candidates by vectors and BM25, the rules that reject them, and random fill.

`mine.py` strings them together.
"""
