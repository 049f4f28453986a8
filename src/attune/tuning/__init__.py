"""Changing an encoder: mined negatives, training, dev scores, and interpolation with the base.

Never reads a test row.
"""
