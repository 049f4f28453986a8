"""The one error a user is meant to see."""


class BadInput(Exception):
    """Something the user can mend; each argument is one line: what and where, got versus expected, what to do."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))
