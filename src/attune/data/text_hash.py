"""Hash of a text, by which two runs tell that they hold the same text without showing it."""

import hashlib

DIGITS = 16  # hex digits: two of 10^6 texts share one with probability 3e-8
ABOUT = f"first {DIGITS} hex digits of the sha256 of each text in lower case with single spaces, as UTF-8"


def text_hash(text: str) -> str:
    """Returns the hash of a text, whatever its case and white space."""
    words = " ".join(text.casefold().split())
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
