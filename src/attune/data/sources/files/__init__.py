"""Readers of table files (csv, tsv, JSON lines, parquet) that name file, row and column in every error.

They know nothing of queries or documents.
"""
