"""Words in any script: what is counted, and what search matches."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.retrieval.words import WORD, n_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the sum.", ["return", "the", "sum"]),
        ("np.arg_max(axis=-1)", ["np", "arg", "max", "axis", "1"]),
        ("DataFrame", ["data", "frame", "dataframe"]),
        ("parseHTMLDocument", ["parse", "html", "document", "parsehtmldocument"]),
        ("log10 of x2", ["log10", "of", "x2"]),
        ("Çok güzel, naïve!", ["çok", "güzel", "naïve"]),
        ("_ -- ()", []),
        ("", []),
    ],
)
def test_words_of_prose_and_code(text: str, expected: list[str]) -> None:
    """Identifiers are split at underscores and case; mixed case keeps the whole too."""
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("如何排序", ["如何", "何排", "排序"]),
        ("我,你", ["我", "你"]),
        ("用DataFrame排序", ["用", "data", "frame", "dataframe", "排序"]),
        ("人々と", ["人々", "々と"]),
        ("ห้อง", ["ห้อ", "อง"]),
        ("한국어 말", ["한국", "국어", "말"]),
        ("カタカナ・ｶﾀｶﾅ", ["カタ", "タカ", "カナ", "カタ", "タカ", "カナ"]),
        ("Ｗｉｄｅ", ["wide"]),
        ("STRASSE Straße ΟΔΟΣ οδος", ["strasse", "strasse", "οδοσ", "οδοσ"]),
        ("मैं अपना पासवर्ड", ["मैं", "अपना", "पासवर्ड"]),
        ("བོད་སྐད", ["བོད", "སྐད"]),
    ],
)
def test_words_of_other_scripts(text: str, expected: list[str]) -> None:
    """Pairs of neighbours, marks with their letter, where no space parts words; folded width and case."""
    assert words(text) == expected


@given(st.text(max_size=30) | st.text("éÉ각が한กำข้ಸೊßΣ_aB ", max_size=20))
def test_canonically_equivalent_texts_have_the_same_words(text: str) -> None:
    """NFC and NFD, of any characters."""
    assert words(normalize("NFC", text)) == words(normalize("NFD", text))


@given(st.text(max_size=30) | st.text("天地ทดสอบabC_ ้", max_size=20))
def test_a_text_has_words_to_search_by_exactly_where_it_has_words_to_count(text: str) -> None:
    """But for underscores, which join words that are counted."""
    folded = normalize("NFKC", text).replace("_", " ")
    assert bool(words(text)) == bool(n_words(folded)) == bool(WORD.search(folded))


def test_a_text_without_spaces_counts_by_character() -> None:
    """Marks count with their character; other scripts by word."""
    assert [n_words(text) for text in ("Sort a DataFrame, quickly!", "", "don't", "如何排序", "ห้อง")] == [4, 0, 2, 4, 3]
