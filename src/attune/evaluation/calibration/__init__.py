"""Calibration of scores: probabilities, a promised precision, and cutoffs of the same effect under another encoder."""
