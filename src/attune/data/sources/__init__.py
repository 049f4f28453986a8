"""Sources of raw data: one file for each kind of input (BEIR, pairs, documents, packages, generated queries).

Each returns `RawData`: documents, queries and qrels with a count of what was dropped and why.
"""
