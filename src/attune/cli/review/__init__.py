"""What a pull request is told about its model: the gate, the comment, and comparison with another revision.

Reads what is in git; trains nothing.
"""
