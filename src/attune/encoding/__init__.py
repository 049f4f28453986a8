"""Encoding texts with torch encoders, in shards, on one or several processes.

Also the scratch folders from which a killed run resumes.
"""
