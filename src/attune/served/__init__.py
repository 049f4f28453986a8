"""Stages train, merge and export for an encoder behind an endpoint: base is what there is, and the adapter ships.

Each has the command line and the outputs of its namesake in `stages`, which need weights; `programs.tuning` chooses.
"""
