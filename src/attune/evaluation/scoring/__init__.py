"""Retrieval measures of rankings against judgments: recall, MRR, nDCG and MAP, per query and averaged.

Also the receipts (metrics/*.json) that hold their means.
"""
