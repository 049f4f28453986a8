"""Prompts that an encoder puts before queries and documents: by parameter, else those of its folder, by any name."""

import re
from collections.abc import Mapping

from attune.encoding.families import family_of
from attune.errors import BadInput

KINDS = ("query", "document")  # names under which all stages and consumers find them
# names of the same on the hub, in lower case, words apart; where a folder has the first of a row, no other counts
NAMES = {
    "query": ("query", "search query", "retrieval query", "web search query", "s2p query", "queries", "question"),
    "document": (
        *("document", "passage", "search document", "retrieval document", "retrieval passage"),
        *("documents", "passages", "doc", "docs", "corpus", "text"),
    ),
}
PLURAL = {"query": "queries", "document": "documents"}
KEY = "base.prompts"


def used_prompts(model: str, own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Returns the prompts of queries and documents under the names query and document; "" for none.

    Args:
        model: name of the encoder, for messages.
        own: prompts of its folder by name.
        given: prompts of parameter base.prompts; each counts before the folder's.

    Raises:
        BadInput: the folder has prompts of which none is known to belong to queries or documents, or several for one
            of the two that differ, and no parameter says which.
    """
    named = {name: text for name, text in own.items() if text}
    candidates = {kind: _texts(named, kind) for kind in KINDS}
    if named and not given and not any(candidates.values()):
        raise BadInput(
            f"{model}: its folder has prompts named {', '.join(named)}, none known as one of queries or documents; "
            f"set {KEY} to query and document with their texts ('' for none)"
        )
    used = {}
    for kind, texts in candidates.items():
        if kind not in given and len(set(texts.values())) > 1:
            raise BadInput(
                f"{model}: its folder has several prompts for a {kind}, {', '.join(texts)}; set {kind} of {KEY} to one"
            )
        used[kind] = given.get(kind, next(iter(texts.values()), ""))
    return used


def _texts(named: Mapping[str, str], kind: str) -> dict[str, str]:
    """Returns the prompts that belong to a kind by their names; only that with the kind's own, if there is one."""
    if kind in named:
        return {kind: named[kind]}
    return {
        name: text for name, text in named.items() if " ".join(re.findall(r"[a-z0-9]+", name.lower())) in NAMES[kind]
    }


def family_prompts(model: str) -> dict[str, str]:
    """Returns the prompts that an encoder's family uses, by the model card that families.py names; none if unknown."""
    family = family_of(model)
    both = {"query": family.query, "document": family.document} if family else {}
    return {kind: text for kind, text in both.items() if text}


def absent_prompts(model: str, own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Returns the prompts of an encoder's family for which neither its folder nor the parameter has any."""
    named = {name: text for name, text in own.items() if text}
    return {k: text for k, text in family_prompts(model).items() if k not in given and not _texts(named, k)}


def unread_prompts(model: str, own: Mapping[str, str], given: Mapping[str, str]) -> str:
    """Returns a line on prompts of a folder that are put before nothing, where queries or documents get none.

    Args:
        model, own, given: as for `used_prompts`.
    """
    named = {name: text for name, text in own.items() if text}
    known = {kind: _texts(named, kind) for kind in KINDS}
    others = [name for name in named if not any(name in texts for texts in known.values())]
    bare = [PLURAL[kind] for kind in KINDS if kind not in given and not known[kind]]
    if not others or not bare or len(others) == len(named):  # where none is known, `used_prompts` refuses
        return ""
    return (
        f"{model}: {' and '.join(bare)} get no prompt, and its folder has some of unknown use, {', '.join(others)}; "
        f"set {KEY} to the right one, or to '' for none"
    )


def quoted_prompts(prompts: Mapping[str, str]) -> str:
    """Says what is put before queries and documents."""
    return " and ".join(f"{text!r} before {PLURAL[kind]}" for kind, text in prompts.items() if text) or "no prompts"
