"""Commands that are not stages: `attune check`, `search`, `verify`, `gate`, `comment`, `demo`.

`main.py` defines the command line.
"""
