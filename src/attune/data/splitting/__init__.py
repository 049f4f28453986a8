"""Near-duplicates, clusters, and the leak audit: everything a split without leakage rests on.

Similarity is Jaccard over shingles; cosine leaks are audited in `stages/audit.py`.
"""
