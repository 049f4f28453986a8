"""Contrastive training: batches, losses, checkpoints, LoRA, protection against forgetting.

`fit.py` runs it; `recipe.py` holds its parameters.
"""
