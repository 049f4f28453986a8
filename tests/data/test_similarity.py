"""Similarity join: exactly the similar pairs, by the definition pair by pair and by scikit-learn."""

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.splitting import similarity as likeness
from attune.data.splitting.clusters import components, fold
from attune.data.splitting.similarity import alike, shingle_sets
from attune.retrieval.words import WORD

THRESHOLDS = [0.3, 0.5, 0.51, 0.7, 0.8, 1.0]


def shingles(text: str, width: int) -> set[tuple[str, ...]]:
    """The definition, word by word."""
    words = WORD.findall(fold(text))
    return {tuple(words[i : i + width]) for i in range(max(1, len(words) - width + 1))} if words else set()


def expected_pairs(texts: list[str], width: int, threshold: float) -> dict[tuple[int, int], float]:
    """By a plain double loop."""
    sets = [shingles(text, width) for text in texts]
    found = {}
    for low, high in combinations(range(len(texts)), 2):
        if sets[low] and sets[high]:
            similarity = len(sets[low] & sets[high]) / len(sets[low] | sets[high])
            if similarity >= threshold:
                found[low, high] = similarity
    return found


def all_pairs(texts: list[str], width: int, threshold: float) -> dict[tuple[int, int], float]:
    """All pairs that `alike` finds, those of equal sets written out."""
    found = alike(texts, width, threshold)
    groups: dict[int, list[int]] = {}
    for row, first in enumerate(found.first.tolist()):
        groups.setdefault(first, []).append(row)
    pairs = {pair: 1.0 for rows in groups.values() for pair in combinations(rows, 2)}
    for low, high, similarity in zip(found.low.tolist(), found.high.tolist(), found.similarity.tolist(), strict=True):
        pairs |= {tuple(sorted((a, b))): similarity for a in groups[low] for b in groups[high]}  # type: ignore[misc]
    return pairs


@given(
    st.lists(st.text("abc d", max_size=16), max_size=12),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(THRESHOLDS),
)
@settings(max_examples=400, deadline=None)
def test_no_similar_pair_is_missed_and_none_invented(texts: list[str], width: int, threshold: float) -> None:
    """Against a plain double loop, for any texts, widths and thresholds."""
    assert all_pairs(texts, width, threshold) == pytest.approx(expected_pairs(texts, width, threshold))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_long_texts_with_few_changes_agree_with_sparse_products(width: int, threshold: float) -> None:
    """600 texts, half of them variants of others, against scikit-learn's counts of shingles multiplied out."""
    from sklearn.feature_extraction.text import CountVectorizer

    chance = random.Random(5)
    texts = [
        " ".join(f"w{int(chance.paretovariate(0.6)) % 400}" for _ in range(chance.randint(3, 40))) for _ in range(300)
    ]
    for text in list(texts):
        words = text.split()
        words[chance.randrange(len(words))] = f"w{chance.randrange(400)}"
        texts.append(" ".join(words))
    counts = CountVectorizer(analyzer=lambda text: shingles(text, width), binary=True).fit_transform(texts)
    shared = (counts @ counts.T).toarray().astype(float)
    sizes = shared.diagonal()
    similarity = shared / (sizes[:, None] + sizes[None] - shared)
    rows = np.argwhere(np.triu(similarity >= threshold - 1e-9, 1))
    assert len(rows) > 50
    assert set(all_pairs(texts, width, threshold)) == {(low, high) for low, high in rows.tolist()}


def test_small_blocks_find_what_large_ones_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of blocks, which bound memory, do not change the result."""
    chance = random.Random(3)
    texts = [" ".join(chance.choices("abcdefghij", k=chance.randint(1, 8))) for _ in range(200)]
    whole = all_pairs(texts, 1, 0.7)
    assert len(whole) > 100
    for name in ("SETS_AT_ONCE", "CANDIDATES_AT_ONCE", "SHINGLES_AT_ONCE"):
        monkeypatch.setattr(likeness, name, 7)
    monkeypatch.setattr("attune.data.splitting.similarity.TEXTS_AT_ONCE", 7)
    assert all_pairs(texts, 1, 0.7) == whole


def test_many_copies_cost_an_edge_each_and_not_a_pair_each() -> None:
    """5,000 equal texts are 4,999 edges, not twelve million, and one component."""
    found = alike(["the same words here"] * 5000 + ["something else altogether"], 1, 0.8)
    assert len(found.low) == 0 and len(found.edges()) == 4999
    assert components(5001, found.edges()).tolist() == [0] * 5000 + [5000]


def test_a_higher_threshold_keeps_the_more_alike_edges() -> None:
    """3 of 5 words are .6, 4 of 5 are .8."""
    found = alike(["a b c d", "a b c e", "a b c d f"], 1, 0.6)
    assert found.edges().tolist() == [[0, 1], [0, 2]]
    assert found.edges(0.8).tolist() == [[0, 2]]


def test_the_sets_are_those_of_the_definition() -> None:
    """As many shingles as distinct runs of words; a short text is one, a text without words has none."""
    texts = ["one two one two one", "one", "", "...", "堆叠数组", "A_b c-d"]
    for width in (1, 2, 3):
        assert shingle_sets(texts, width).sizes.tolist() == [len(shingles(text, width)) for text in texts]
    assert len(shingles("堆叠数组", 2)) == 3  # scripts without spaces: a character is a word
    assert alike([], 2, 0.5).edges().shape == (0, 2)


@given(st.lists(st.text("abc d", max_size=16), max_size=12), st.integers(0, 12), st.sampled_from(THRESHOLDS))
@settings(max_examples=200, deadline=None)
def test_pairs_with_one_of_the_first_texts_are_those_of_all_pairs(texts: list[str], n: int, threshold: float) -> None:
    """Only pairs of two later texts are missing; and the pairs among the first texts are those of these texts alone."""
    whole, part = alike(texts, 1, threshold), alike(texts, 1, threshold, n_first=n)
    kept = whole.low < n
    for name in ("low", "high", "similarity"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[kept])
    assert np.array_equal(part.first, whole.first)
    among, alone = part.among_first(n), alike(texts[:n], 1, threshold)
    for name in ("first", "low", "high", "similarity"):
        assert np.array_equal(getattr(among, name), getattr(alone, name))


def test_words_of_all_scripts() -> None:
    """Marks belong to the word that they stand in, in NFC and NFD; where no space parts words, a character is one."""
    expected = {
        "A_b c-d, x2!": ["A_b", "c", "d", "x2"],
        "nai\u0308ve na\u00efve": ["nai\u0308ve", "na\u00efve"],
        "मैं अपना पासवर्ड": ["मैं", "अपना", "पासवर्ड"],
        "தமிழ் மொழி": ["தமிழ்", "மொழி"],
        "مَدْرَسَة كبيرة": ["مَدْرَسَة", "كبيرة"],
        "堆叠数组 abc我": [*"堆叠数组", "abc", "我"],
        "ห้อง": ["ห้", "อ", "ง"],
        "ខ្ញុំ": ["ខ្", "ញុំ"],
        "ລາວ": [*"ລາວ"],
    }
    assert {text: WORD.findall(text) for text in expected} == expected


def test_hindi_questions_on_other_things_are_not_alike() -> None:
    """Without their vowel signs most words would be the same few letters."""
    texts = ["मेरा पासवर्ड कैसे बदले", "मेरी पसंद की दुकान कैसी"]
    assert alike(texts, 1, 0.5).edges().shape == (0, 2)
    assert alike([*texts, texts[0] + " जी"], 1, 0.8).edges().tolist() == [[0, 2]]
