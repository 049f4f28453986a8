"""Which script a text is written in: enough to see that an encoder was made for another language."""

import unicodedata
from collections import Counter

LETTERS = 200  # looked at per text


def script_of(text: str) -> str:
    """The most common script of a text's first letters, as Unicode names it ("latin", "cjk"); without any, "none"."""
    letters = [character for character in text[: 10 * LETTERS] if character.isalpha()][:LETTERS]
    scripts = Counter(unicodedata.name(letter, "none").partition(" ")[0].lower() for letter in letters)
    return scripts.most_common(1)[0][0] if scripts else "none"
