"""Scores, statistics, drift, general tasks, and the report in Markdown and HTML.

Reads rankings and vectors; encodes nothing.
"""
