"""Scores as probabilities in the runtime: the map by hand, hits below a probability, and manifests that hold none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attune.errors import BadInput
from attune.runtime.calibration import Calibration
from attune.runtime.search import Search

RISING = Calibration(np.array([0.2, 0.4, 0.8]), np.array([0.0, 0.5, 0.9]))


def test_the_map_is_linear_between_its_points_and_constant_beyond() -> None:
    """.3 lies between 0 and .5, .6 between .5 and .9; and back again."""
    scores = np.array([[-1.0, 0.2, 0.3], [0.6, 0.8, 2.0]])
    assert RISING.probability(scores) == pytest.approx(np.array([[0, 0, 0.25], [0.7, 0.9, 0.9]]))
    assert [RISING.score_of(share) for share in (0.25, 0.5, 0.7, 0.9)] == pytest.approx([0.3, 0.4, 0.6, 0.8])
    assert RISING.score_of(0.0) == -np.inf and RISING.score_of(0.91) == np.inf


def test_search_gives_probabilities_and_drops_improbable_hits() -> None:
    """Scores of (1, 0) with (1, 0), (.6, .8) and (0, 1) are 1, .6 and 0; below .5 only two are left, below .95 none."""
    documents = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    index, query = Search.build(documents, ["a", "b", "c"]), np.array([[1, 0]], dtype=np.float32)
    (hits,) = index.probable(query, 3, RISING)
    assert [(hit.document_id, hit.probability) for hit in hits] == [
        ("a", pytest.approx(0.9)),
        ("b", pytest.approx(0.7)),
        ("c", pytest.approx(0.0)),
    ]
    assert [hit.document_id for hit in index.probable(query, 3, RISING, min_probability=0.5)[0]] == ["a", "b"]
    assert index.probable(query, 3, RISING, min_probability=0.95) == [[]]
    assert [hit.probability for hit in index.top_passages(query, 3)[0]] == [None] * 3


def test_below_the_promised_cutoff_a_query_finds_nothing() -> None:
    """The first hit decides for all of its query's; without a promised cutoff the wish is refused."""
    index = Search.build(np.array([[1, 0], [0.6, 0.8]], dtype=np.float32), ["a", "b"])
    queries = np.array([[1, 0], [0, -1], [0.6, 0.8]], dtype=np.float32)
    promising = replace(RISING, cutoff=0.95)
    found = index.probable(queries, 2, promising, promised=True)
    assert [[hit.document_id for hit in hits] for hits in found] == [["a", "b"], [], ["b", "a"]]
    assert [len(hits) for hits in index.probable(queries, 2, promising, 0.8, promised=True)] == [1, 0, 1]
    assert [len(hits) for hits in index.probable(queries, 2, promising)] == [2, 2, 2]
    with pytest.raises(BadInput, match="the calibration promises no cutoff; take min_probability"):
        index.probable(queries, 2, RISING, promised=True)


def test_another_encoders_calibration_is_refused() -> None:
    """By the fingerprints of index and calibration; where one has none, nothing is compared."""
    vectors = np.array([[1, 0]], dtype=np.float32)
    own, other = (replace(RISING, encoder=name) for name in ("own", "other"))
    index = Search.build(vectors, ["a"], "own")
    assert len(index.probable(vectors, 1, own)[0]) == len(index.probable(vectors, 1, RISING)[0]) == 1
    assert len(Search.build(vectors, ["a"]).probable(vectors, 1, other)[0]) == 1
    with pytest.raises(BadInput, match="the calibration is of encoder other, the index of own; load that encoder's"):
        index.probable(vectors, 1, other)


def test_passages_have_probabilities_too() -> None:
    """A document scores as its best passage, and keeps the passage's range."""
    documents = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    index = Search.build(documents, ["a", "a"], passages=[(0, 5), (5, 9)])
    (hits,) = index.probable(np.array([[1, 0]], dtype=np.float32), 2, RISING)
    assert [(hit.document_id, hit.start, hit.stop, hit.probability) for hit in hits] == [("a", 0, 5, 0.9)]


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "calibration is missing"),
        ({"scores": [0.1]}, "probabilities is missing"),
        ({"scores": [0.1, 0.2], "probabilities": [0.5]}, "does not rise"),
        ({"scores": [0.2, 0.1], "probabilities": [0.5, 0.6]}, "does not rise"),
        ({"scores": [0.1, 0.2], "probabilities": [0.6, 0.5]}, "does not rise"),
        ({"scores": [0.1], "probabilities": [1.5]}, "expected a number from 0 to 1"),
    ],
)
def test_a_manifest_without_a_rising_map_is_refused(tmp_path: Path, calibration: object, message: str) -> None:
    """One line names the file."""
    (tmp_path / "manifest.json").write_text(json.dumps({"calibration": calibration} if calibration else {}))
    with pytest.raises(BadInput, match=rf"manifest\.json: .*{message}"):
        Calibration.load(tmp_path)
