"""Queries in a style of search logs that training never sees: no articles, abbreviations, and a misspelled word.

Training rewrites its queries by the rules of `typed_queries`, so a task made by these cannot tell whether an encoder
knows typed queries or the rules. The style here is held out, for evaluation alone: "Returns the average distance of the
nodes" is asked as "returns avg distnce of nodes". Of web queries 10% to 15% are misspelled (Cucerzan and Brill, 2004,
EMNLP); here it is each, one letter of one word, as in tests of robustness to typos (Zhuang and Zuccon, 2021, EMNLP).
Letters, words and places are chosen by rules and a hash of the text: the same text always becomes the same query.
"""

import hashlib
import re

_DROPPED = frozenset("a an the is are was were be been being".split())
# frequent words of English alone, or nearly
_ENGLISH = frozenset("the and with from that this these which what how of to into for your".split())
# words and their abbreviations
_SHORT = dict(
    entry.partition(":")[::2]
    for entry in """
    and:& with:w/ without:w/o versus:vs administrator:admin application:app approximate:approx
    approximation:approx argument:arg average:avg calculate:calc character:char column:col
    configuration:config coordinate:coord database:db department:dept dictionary:dict difference:diff
    directory:dir distribution:dist document:doc environment:env example:ex function:func image:img
    information:info initialize:init integer:int language:lang library:lib management:mgmt maximum:max
    message:msg minimum:min number:num package:pkg parameter:param password:pw probability:prob
    reference:ref repository:repo specification:spec statistics:stats technology:tech temperature:temp
    temporary:tmp variable:var
    """.split()
)
_SHORTEST = 5  # letters of a word that is misspelled
_OPENING, _CLOSING = "\"'`(", "\"'`)"
_FINAL = ".?!,;:\u2026"
# a word between brackets, quotes and punctuation; what has other capitals, digits or symbols is a name
_PLAIN = re.compile(rf"([{_OPENING}]*)([A-Za-z][a-z]+|a)([{_CLOSING}{_FINAL}]*)")
# letters that are neither Latin nor a symbol of formulas in Greek letters
_OTHER_SCRIPT = re.compile(r"[^\W\d_A-Za-z\u00aa-\u024f\u0370-\u03ff\u1e00-\u1eff]")


def searched(query: str) -> str | None:
    """Rewrites a query as search logs have it; None where it is not English or has no word to misspell.

    Plain words lose their capitals and the punctuation after them, articles and forms of "be" go, some words are
    abbreviated, and one of the others, of five letters or more, loses an inner letter. Symbols, numbers and names (with
    digits, capitals inside, `_`, `/` ...) stay as they are.

    Args:
        query: a sentence, a question or a title.
    """
    parts = [(token, _PLAIN.fullmatch("a" if token == "A" and not place else token)) for place, token in _tokens(query)]
    words = {match[2].lower() for _, match in parts if match}
    if not words & _ENGLISH or _OTHER_SCRIPT.search(query):
        return None
    number = int.from_bytes(hashlib.sha256(f"searched query\n{query}".encode()).digest()[:8], "big")
    shown: list[str] = []
    misspelled: list[tuple[int, str]] = []  # of each word that can be: its place, and how it is misspelled
    for token, match in parts:
        word = match[2].lower() if match else ""
        if not match or word in _DROPPED:
            shown += [] if match else [token]
            continue
        wrong = _without_a_letter(word, number)
        if _short(word) == word and len(word) >= _SHORTEST and wrong not in words:
            misspelled.append((len(shown), _shown(match, wrong)))
        shown.append(_shown(match, _short(word)))
    if not misspelled:
        return None
    place, wrong = misspelled[number % len(misspelled)]
    shown[place] = wrong
    return " ".join(shown)


def _tokens(query: str) -> list[tuple[int, str]]:
    """Returns the places and tokens of a query, without final punctuation; tokens of nothing else go."""
    return [(place, bare) for place, token in enumerate(query.split()) if (bare := token.rstrip(_FINAL))]


def _shown(match: re.Match[str], word: str) -> str:
    """Returns a word between the brackets and quotes around it."""
    return match[1] + word + match[3].rstrip(_FINAL)


def _short(word: str) -> str:
    """Returns the abbreviation of a word, of a plural with its s; the word itself where it has none."""
    singular = word.removesuffix("s")
    return _SHORT.get(word) or (f"{_SHORT[singular]}s" if len(_SHORT.get(singular, "")) > 2 else word)


def _without_a_letter(word: str, number: int) -> str:
    """Drops an inner letter: errors at the beginning are rare, and the last letter may be a plural's or a verb's s."""
    place = 1 + number // 64 % max(1, len(word) - 2)
    return word[:place] + word[place + 1 :]
