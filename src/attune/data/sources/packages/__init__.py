"""Code search data from installed Python packages: functions as documents, first docstring sentences as queries.

The default domain data; parsed with `ast`, never imported.
"""
