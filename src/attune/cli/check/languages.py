"""Languages of a data set, by py3langid: naive Bayes over sequences of bytes, 139 languages, no network."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from attune.retrieval.languages import code_of

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MAX_CHARACTERS = 300  # of each text
MIN_PROBABILITY = 0.5  # of a text's language; below it the text is unclear, as words alone and program code often are
MIN_SHARE = 0.01  # of a kind's texts that a language is named for; fewer may be mistakes
OTHER, UNCLEAR = "other", "unclear"
NO_LANGUAGE = "zxx"  # in ISO 639


def language_facts(texts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Counts the texts in each language, by its ISO 639-1 code (639-3 where it has none of two letters).

    Args:
        texts: of each kind, such as documents and queries; the first 300 characters of each are looked at.

    Returns:
        By language, that of most texts first: `n_documents` and so on for each kind. Languages of less than a hundredth
        of each kind's texts are counted as `other`, and texts as `unclear` whose language has a probability below .5.
    """
    counts = {kind: Counter(map(language_of, several)) for kind, several in texts.items()}
    told = {name for own in counts.values() for name in own if name != UNCLEAR}
    named = [name for name in told if any(own[name] >= MIN_SHARE * own.total() for own in counts.values() if own[name])]
    named.sort(key=lambda name: (-sum(own[name] for own in counts.values()), name))
    groups = {**{name: {name} for name in named}, OTHER: told.difference(named), UNCLEAR: {UNCLEAR}}
    rows = {
        name: {f"n_{kind}": sum(own[each] for each in group) for kind, own in counts.items()}
        for name, group in groups.items()
    }
    return {name: row for name, row in rows.items() if any(row.values())}


def stem_facts(found: Iterable[str], declared: Sequence[str], setting: str) -> dict[str, Any]:
    """Compares languages of the texts with those that the parameters name.

    Args:
        found: codes of the texts' languages.
        declared: release.languages, such as de, pt-BR or nb.
        setting: evaluate.bm25_language: auto, a language, or "".

    Returns:
        `undeclared`: codes that no declared language stands for; `stemmed`: codes that BM25 has stems of; `own`: codes
        whose stems the setting takes; `setting` as it was given.
    """
    found = list(found)
    same = [_same(each) for each in declared]
    return {
        "undeclared": [code for code in found if _same(code) not in same],
        "stemmed": [code for code in found if code_of(code)],
        "own": [code for code in found if setting and _same(code) == _same(setting)],
        "setting": setting,
    }


def _same(language: str) -> str:
    """Returns one code for all names and regional forms of a language; nb and nn are no, as their stems are."""
    return code_of(language) or language.lower().replace("_", "-").partition("-")[0]


def language_of(text: str) -> str:
    """Returns the code of a text's language, or `unclear`."""
    cut = text[:MAX_CHARACTERS]
    if not any(map(str.isalpha, cut)):
        return UNCLEAR
    code, probability = _identifier().classify(cut)
    return str(code) if probability >= MIN_PROBABILITY and code != NO_LANGUAGE else UNCLEAR


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - its model takes a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
