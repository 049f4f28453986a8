"""Review of a pull request: the gate, the comment, and the comparison with another revision.

Reads only files in git; computes nothing anew.
"""
