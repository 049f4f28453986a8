"""Repositories of users' own: made by `attune new`, run by stages of the installed package, brought to a newer one.

Such a repository holds no code. Its dvc.yaml is attune's own without code dependencies; in their place each stage
tracks a hash of the code that it runs, which stands in libraries.yaml beside the versions of the libraries.
"""
