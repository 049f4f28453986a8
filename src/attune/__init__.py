"""Fine-tune your own embedding model, and know that it worked."""
