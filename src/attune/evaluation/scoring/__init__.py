"""Retrieval measures for a run against qrels, per query and averaged.

Also the receipts (metrics/*.json) that hold them.
"""
