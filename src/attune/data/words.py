"""Words in any script: runs of letters, digits and their marks; where no space parts words, each character is one."""

import re
from unicodedata import category

# Thai and Lao, Myanmar, Khmer, Japanese, Chinese, Korean
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"


def _marks() -> str:
    """Returns the characters that continue a word though Python's \\w lacks them: vowel signs, accents (category M)."""
    spaceless = re.compile(f"[{SPACELESS}]")
    # the basic plane, all living scripts: with characters beyond it the class is three times as slow
    return "".join(c for c in map(chr, range(0x300, 0x10000)) if category(c)[0] == "M" and not spaceless.match(c))


# [^\W...]: a word character that is none of ...
WORD = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+(?:[{_marks()}]+[^\W{SPACELESS}]*)*")
WORD_OR_SYMBOL = re.compile(rf"{WORD.pattern}|[^\w\s]")
