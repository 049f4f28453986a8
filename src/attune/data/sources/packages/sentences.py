"""Sentences of a docstring before its first section, as plain text without markup."""

import re
from itertools import takewhile

# in this order: :func:`~a.b.c` becomes c, `text <target>`_ text, other roles and quotes their content; [1]_ is removed
_MARKUP = (
    (re.compile(r":[a-zA-Z:+]+:`~[\w.]*?(\w+)`"), r"\1"),
    (re.compile(r"(?::[a-zA-Z:+]+:)?`([^`<]+?)\s*<[^`<>]*>`_{0,2}"), r"\1"),
    (re.compile(r":[a-zA-Z:+]+:`([^`]*)`"), r"\1"),
    (re.compile(r"(`{1,2})([^`]+)\1_{0,2}"), r"\2"),
    (re.compile(r"(?<![\w*])(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?![\w*])"), r"\2"),
    (re.compile(r"\s*\[[\w,\s]+\]_"), ""),
    (re.compile(r"\$([^$]+)\$"), r"\1"),
    (re.compile(r"\s+"), " "),
)
_ASIDE = re.compile(r"(\s*\((?:see|cf\.) [^()]*\)|[;,.:]\s*(?:see|cf\.) .*)$", re.IGNORECASE)
_ABBREVIATIONS = "".join(
    rf"(?<!\b{re.escape(a)})" for a in ("e.g", "i.e", "vs", "cf", "etc", "resp", "Fig", "al", "w.r.t")
)
_END = re.compile(rf"{_ABBREVIATIONS}(?<!\b[A-Z])[.!?]\s+(?=[\"'(]?[A-Z0-9])")
_UNDERLINE = re.compile(r"([-=~^*])\1{2,}$")
_NO_PROSE = re.compile(r"\.\. |>>> |[-*+] |\d\. |\||=|:\w+[^:`]*:(?!`)")
_CALL = re.compile(r"[\w.]+ ?\(")


def sentences(docstring: str) -> list[str]:
    """Returns the sentences without markup and full stops; a list, a table or code ends a paragraph."""
    result: list[str] = []
    for paragraph in re.split(r"\n\s*\n", _without_signature(_introduction(docstring))):
        lines = takewhile(lambda line: not _NO_PROSE.match(line), map(str.strip, paragraph.strip().splitlines()))
        result += (_trimmed(sentence) for sentence in _END.split(without_markup(" ".join(lines))))
    return [sentence for sentence in result if sentence]


def prose(docstring: str) -> tuple[int, int]:
    """Returns where the text that `sentences` reads begins and ends: after a signature, before the first section."""
    begin = len(docstring) - len(docstring.lstrip())
    introduction = _introduction(docstring).rstrip()
    end = begin + len(introduction)
    return end - len(_without_signature(introduction)), end


def _trimmed(sentence: str) -> str:
    """Removes the full stop and a reference at the end: `... of a graph; see Graph`."""
    return _ASIDE.sub("", sentence.strip().rstrip(" .:;")).strip()


def without_markup(text: str) -> str:
    """Removes reStructuredText markup and line breaks."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def is_deprecated(docstring: str) -> bool:
    """Tells whether the docstring deprecates the whole definition, not one of its parameters."""
    return ".. deprecated::" in _introduction(docstring)


def _introduction(docstring: str) -> str:
    """Returns the lines before the first underlined title."""
    lines = docstring.strip().splitlines()
    for number, line in enumerate(lines[1:]):
        if _UNDERLINE.match(line.strip()):
            return "\n".join(lines[:number])
    return "\n".join(lines)


def _without_signature(text: str) -> str:
    """Removes the signature that docstrings of C functions begin with: `arange([start,] stop[, step])`."""
    match = _CALL.match(text)
    if match is None:
        return text
    depth = 0
    for end, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == ")" and depth == 0:
            line, _, rest = text[end + 1 :].partition("\n")
            if line.strip() and not line.lstrip().startswith("->"):
                return text
            return _without_signature(rest.strip().removeprefix("--").lstrip())
    return text
