"""The one error a user is meant to see."""


class BadInput(Exception):
    """Something the user can mend; its text is one line: what and where, got versus expected, what to do."""
