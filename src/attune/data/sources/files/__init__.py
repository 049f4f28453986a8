"""Readers of table files (csv, tsv, JSON lines, parquet) that name file, row and column in every error.

They do not depend on queries, documents or judgments.
"""
