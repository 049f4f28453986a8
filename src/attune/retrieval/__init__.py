"""Ranking documents for queries: exact and approximate vector search, and BM25.

Arrays in, rankings out; ties go by corpus row.
"""
