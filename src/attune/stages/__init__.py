"""Verbs: each file is one stage of the pipeline in dvc.yaml."""
