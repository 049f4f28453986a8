"""Cutting documents into passages: sentences, overlap, titles, long words, scripts without spaces."""

import itertools
import random
import unicodedata

import pytest
from pydantic import ValidationError

from attune.data.passages import PassageParams, n_tokens, passages_of, ranges
from attune.retrieval.words import WORD_OR_SYMBOL

SENTENCES = [f"Word{number} is one of these five words here today and now. " for number in range(6)]
TEXT = "".join(SENTENCES).strip()
ALPHABETS = ("ab cd. ", "ab,!?\n ", "鉄道。は、", "ภาษาไทย ั", "नमस्ते। ", "é́ b")


def random_text(seed: int) -> str:
    """Returns a text of words, marks and white space of one script."""
    draw = random.Random(seed)
    return "".join(draw.choices(ALPHABETS[seed % len(ALPHABETS)], k=draw.randint(0, 400)))


def test_tokens_are_counted_by_letters_and_symbols() -> None:
    """A word costs one token for each six letters begun, a symbol one, a character of Chinese one."""
    assert n_tokens("a sixsix sevense, 鉄道") == 1 + 1 + 2 + 1 + 2


def test_passages_end_with_sentences() -> None:
    """Two sentences of twelve tokens fit into 25, a third one does not."""
    assert n_tokens(SENTENCES[0]) == 12
    got = passages_of("", TEXT, PassageParams(tokens=25, overlap=0))
    assert [passage.text for passage in got] == ["".join(SENTENCES[i : i + 2]).strip() for i in (0, 2, 4)]


def test_overlap_repeats_whole_sentences() -> None:
    """An overlap of 12 tokens repeats the last sentence of the passage before, one of 11 none."""
    got = passages_of("", TEXT, PassageParams(tokens=25, overlap=12))
    assert [passage.text for passage in got] == ["".join(SENTENCES[i : i + 2]).strip() for i in range(5)]
    assert len(passages_of("", TEXT, PassageParams(tokens=25, overlap=11))) == 3


def test_a_short_title_stands_before_each_passage() -> None:
    """The range of the first passage holds the title, the others get it from the document."""
    got = passages_of("A title", TEXT, PassageParams(tokens=27, overlap=0))
    whole = f"A title {TEXT}"
    assert [passage.text for passage in got] == [f"A title {''.join(SENTENCES[i : i + 2]).strip()}" for i in (0, 2, 4)]
    assert whole[got[0].start : got[0].stop].strip() == got[0].text
    assert whole[got[1].start : got[1].stop].strip() == "".join(SENTENCES[2:4]).strip()


def test_a_long_title_is_cut_with_the_text() -> None:
    """A title of more than half a passage is not repeated."""
    got = passages_of(TEXT, "The end.", PassageParams(tokens=25, overlap=0))
    assert [SENTENCES[0][:5] in passage.text for passage in got] == [True, False, False, False][: len(got)]


@pytest.mark.parametrize("params", [PassageParams(tokens=0, overlap=0), PassageParams(tokens=72, overlap=30)])
def test_a_document_that_fits_is_one_passage(params: PassageParams) -> None:
    """Passages off, or a document just as long as a passage: its full text, unchanged."""
    assert n_tokens(TEXT) == 72
    assert passages_of("", TEXT, params) == [(0, len(TEXT), TEXT)]


@pytest.mark.parametrize("seed", range(120))
def test_passages_cover_a_text_within_their_limits(seed: int) -> None:
    """Every character stands in a passage; only a single word is longer than allowed; overlaps stay in their limit."""
    text, params = random_text(seed), PassageParams(tokens=16, overlap=seed % 9)
    found = ranges(text, params)
    assert {place for start, stop in found for place in range(start, stop)} == set(range(len(text)))
    assert all(start < stop for start, stop in found)
    for start, stop in found:
        words = WORD_OR_SYMBOL.findall(text[start:stop])
        marks = [word for word in words if unicodedata.category(word[0])[0] == "M"]
        assert n_tokens(text[start:stop]) <= params.tokens or len(words) - len(marks) <= 1
    for (first, stop), (start, last) in itertools.pairwise(found):
        assert first < start <= stop < last
        assert n_tokens(text[start:stop]) <= params.overlap


@pytest.mark.parametrize("seed", range(3, 120, 6))
def test_no_passage_begins_with_a_vowel_sign(seed: int) -> None:
    """Thai has no spaces: a cut leaves each vowel sign with its consonant, unless the text itself begins with one."""
    text = random_text(seed)
    starts = [start for start, _ in ranges(text, PassageParams(tokens=16, overlap=0))]
    assert all(unicodedata.category(text[start])[0] != "M" for start in starts[1:] if text[start - 1] not in " ")


@pytest.mark.parametrize(("tokens", "overlap"), [(-1, 0), (15, 0), (32, 17), (0, 1), (9000, 0)])
def test_impossible_lengths_are_refused(tokens: int, overlap: int) -> None:
    """A passage has at least 16 tokens, and repeats at most half of another."""
    with pytest.raises(ValidationError):
        PassageParams(tokens=tokens, overlap=overlap)
