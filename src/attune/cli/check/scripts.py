"""Scripts of a data set (Unicode's property), and how much of each the base encoder's tokenizer reads.

A tokenizer that was made from texts in other scripts maps their words to one unknown token, or spells them in single
letters or bytes. An encoder has learned nothing about such words, whatever it is tuned on.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category

from fontTools.unicodedata import script as script_code
from fontTools.unicodedata import script_name
from tokenizers import Encoding, Tokenizer

MAX_CHARACTERS = 300  # of each text
MAX_READ = 300  # texts of a script whose tokens are looked at
MIN_SHARE = 0.1  # of a text's letters in a script that it is counted for
HAN = "Hani"  # a letter is a word, so that one token each is no spelling
COMMON, INHERITED = "Zyyy", "Zinh"  # characters and marks that several scripts use


class Letter(NamedTuple):
    """A letter or vowel sign: its place in the text, script, and the run of letters of one script that it is in."""

    place: int
    script: str
    run: int


class Fate(NamedTuple):
    """Numbers of a text's letters that a tokenizer does not know or takes apart.

    Attributes:
        n_unknown: letters in the unknown token, or in none.
        n_apart: letters that take several tokens, or that stand alone in their token as all letters of their run do.
    """

    n_unknown: int
    n_apart: int


def script_facts(texts: Mapping[str, Sequence[str]], file: Path) -> dict[str, dict[str, Any]]:
    """Counts the texts in each script, and measures how much of their letters the tokenizer does not read.

    Args:
        texts: of each kind, such as documents and queries; the first 300 characters of each are looked at.
        file: tokenizer.json of the encoder, which `lengths_of` has read before.

    Returns:
        By script, that of most texts first: `n_documents` and so on for each kind, the texts that have a tenth or
        more of their letters in it; and the shares of its letters that are unknown, and taken apart, in at most 300 of
        these texts of each kind.
    """
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unknown_id = _unknown_id(tokenizer)
    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: {kind: [] for kind in texts})
    for kind, several in texts.items():
        for text in (each[:MAX_CHARACTERS] for each in several):
            for script in _scripts(text):
                rows[script][kind].append(text)
    facts = {}
    for script in sorted(rows, key=lambda script: (-sum(map(len, rows[script].values())), script)):
        read = [text for of_kind in rows[script].values() for text in of_kind[:MAX_READ]]
        n_letters = n_unknown = n_apart = 0
        for text, encoding in zip(read, tokenizer.encode_batch(read, add_special_tokens=False), strict=True):
            letters = [letter for letter in _letters(text) if letter.script == script]
            fate = _fate(letters, encoding, unknown_id)
            n_letters, n_unknown, n_apart = n_letters + len(letters), n_unknown + fate.n_unknown, n_apart + fate.n_apart
        facts[script_name(script)] = {
            **{f"n_{kind}": len(of_kind) for kind, of_kind in rows[script].items()},
            "unknown_share": n_unknown / n_letters,
            "apart_share": n_apart / n_letters,
        }
    return facts


@cache
def _script(character: str) -> str:
    """Returns the script of a letter or mark by its four-letter code; joiners are inherited, all others common."""
    kind = category(character)
    return str(script_code(character)) if kind[0] in "LM" or kind == "Cf" else COMMON


def _scripts(text: str) -> list[str]:
    """Returns the scripts in which a text has a tenth or more of its letters."""
    n = Counter(_script(character) for character in text)
    del n[COMMON], n[INHERITED]
    return [script for script, own in n.items() if own >= MIN_SHARE * n.total()]


def _letters(text: str) -> Iterator[Letter]:
    """Yields the letters and vowel signs; accents that any script may use continue a run."""
    run, last = 0, ""
    for place, character in enumerate(text):
        script = _script(character)
        if script == INHERITED:
            continue
        run += script != last
        last = script
        if script != COMMON:
            yield Letter(place, script, run)


def _fate(letters: Sequence[Letter], encoding: Encoding, unknown_id: int | None) -> Fate:
    """Follows the letters of a text through its encoding."""
    at = {letter.place: letter for letter in letters}
    n_tokens, unknown, byte = Counter[int](), set[int](), set[int]()
    read: set[int] = set()  # runs with a token of two letters or more
    for id_, token, (begin, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
        places = [place for place in range(begin, end) if place in at]
        if id_ == unknown_id:
            unknown.update(places)
            continue
        n_tokens.update(places)
        if token.startswith("<0x"):  # a byte, as SentencePiece writes it
            byte.update(places)
        elif len(places) > 1:
            read.update(at[place].run for place in places)
    unknown |= {place for place in at if not n_tokens[place]}
    sizes = Counter(letter.run for letter in letters)
    apart = {place for place, n in n_tokens.items() if n > 1} | byte
    apart |= {x.place for x in letters if x.script != HAN and sizes[x.run] > 1 and x.run not in read}
    return Fate(len(unknown), len(apart - unknown))


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Returns the id of the token that stands for what the vocabulary lacks; None without one."""
    model = json.loads(tokenizer.to_str())["model"]
    if "unk_id" in model:  # Unigram, whose encodings show the text in the token's place
        own: int | None = model["unk_id"]
        return own
    return tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else None
