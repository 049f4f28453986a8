"""Near-duplicates, clusters and the leak audit, the parts of a split without leakage.

Similarity is Jaccard over shingles; stage audit finds leaks by cosine.
"""
