"""Search page of `make demo`, base and tuned side by side, and an OpenAI-compatible embeddings endpoint.

Served on the loopback interface only.
"""
