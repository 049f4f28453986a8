"""Queries for documents that come without any: from their structure (titles, first sentences) or a chat endpoint.

Includes the quality filter and the cache of answers that a stopped run resumes from.
"""
