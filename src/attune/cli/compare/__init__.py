"""`attune compare`: encoders and TREC runs on the project's own queries, before anything is trained.

sources.py turns an argument into a system and systems.py scores it; encoders.py makes encoders ready, vectors.py keeps
what they embed, trec.py reads runs; ranking.py ranks on dev, tests and answers, table.py prints, command.py joins them.
"""
