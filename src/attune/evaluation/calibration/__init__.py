"""What scores mean: probabilities, a promised precision, and cutoffs that keep their effect under another encoder."""
