"""Domain data: readers of its sources, near-duplicate detection, and splits without leakage.

Takes and returns texts and frames; knows no encoder and no paths of the pipeline.
"""
