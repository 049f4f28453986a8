"""Hard negatives: candidates by embeddings and BM25, the rules that reject them (`rules.py`), and random fill.

`mine.py` puts the steps together; `false_negatives.py` estimates how many negatives are unjudged answers.
"""
