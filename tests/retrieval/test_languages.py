"""Stems and stop words by language; whatever is no word of the language stays as it is."""

import pytest

from attune.retrieval.languages import STEMMERS, code_of, stems_in, stop_words

LISTED = "da de en es fr it nl no pt ru sv tr".split()  # languages with stop words


def test_english_words_are_stemmed_and_stop_words_left_out() -> None:
    """Inflections meet, identifiers are still split, other scripts stay."""
    english = stems_in("en")
    assert english("Sorting the arrays") == ["sort", "array"]
    assert english("sortArrays") == ["sort", "array", "sortarray"]
    assert english("排序的 arrays") == ["排序", "序的", "array"]


def test_german_and_russian_inflections_meet() -> None:
    """By Snowball, after umlauts are composed; common words go."""
    assert stems_in("de")("Häuser und das Haus") == ["haus", "haus"]
    assert stems_in("ru")("книги и книга") == ["книг", "книг"]


@pytest.mark.parametrize("code", STEMMERS)
def test_every_language_has_a_stemmer(code: str) -> None:
    """A code that Snowball does not know would fail only where it is used; lists of stop words are optional."""
    assert stems_in(code)("x")
    assert len(stop_words(code)) > 20 or code not in LISTED


@pytest.mark.parametrize(
    ("name", "code"), [("en", "en"), ("English", "en"), ("de-AT", "de"), ("nb", "no"), ("zh", None), ("klingon", None)]
)
def test_a_language_is_known_by_code_or_name(name: str, code: str | None) -> None:
    """ISO 639-1 codes, with or without a region, and English names."""
    assert code_of(name) == code
