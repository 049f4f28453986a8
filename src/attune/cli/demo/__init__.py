"""The search page of `make demo`: base and tuned side by side, and an OpenAI-compatible embeddings endpoint.

Served on loopback only.
"""
