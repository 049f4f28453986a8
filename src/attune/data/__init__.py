"""Domain data: reading it from its sources, finding what is near-identical, and splitting it without leaks.

Frames and texts in, frames out; no encoder, no paths of the pipeline.
"""
