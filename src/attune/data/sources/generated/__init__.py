"""Queries for documents that come without any: from their structure (titles, first sentences) or a chat endpoint.

Holds the quality filter, the answer cache and resuming.
"""
