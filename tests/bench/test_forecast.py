"""The bench of the label curve's forecast: hidden labels are gone, and a forecast is judged by its interval."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from frozen_inputs import write_turned
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.label_points import SCORED, Labelled
from attune.stages.curve import CurveInput, Scorer, read_input
from attune.tuning.adapter.fit import Pairs
from bench.parts.forecast import HEAD, checks, drawn, known_only, measure, row

PARAMS = """machine: {threads: 1, precision: fp32, batch_tokens: 4096}
train: {seeds: [13]}
gate: {confidence: 0.95}
curve: {shares: [0.125, 0.25, 0.5, 1.0], draws: 2}
adapter: {steps: 30, batch_size: 32, learning_rate: 0.01, scale: 20.0, rank: 0, hidden: 0,
  n_documents: 1000, evaluate_every: 10, patience: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline's folder with 80 train queries in 40 clusters."""
    write_turned(*(tmp_path / "data" / name for name in ("embeddings/base", "prepared", "splits")))
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def test_hidden_queries_leave_their_pairs_and_masks_and_documents_stay() -> None:
    """Of queries 0, 1 and 2 the second is hidden: the third's rows become 1."""
    vectors = np.eye(3, dtype=np.float32)
    rows = np.array([[0, 2], [1, 1], [2, 0], [2, 1]])
    unused = Scorer.__new__(Scorer)
    data = CurveInput(Pairs(vectors, vectors, rows, rows[1:]), pl.Series(["a", "b", "c"]), unused, unused)
    left = known_only(data, np.array([True, False, True]))
    assert left.pairs.pairs.tolist() == [[0, 2], [1, 0], [1, 1]] and left.pairs.masked.tolist() == [[1, 0], [1, 1]]
    assert left.pairs.queries.tolist() == [[1, 0, 0], [0, 0, 1]] and left.pairs.documents is vectors
    assert left.cluster_ids.to_list() == ["a", "c"]


def test_a_share_of_the_clusters_stays_whole(folder: Path) -> None:
    """Of 40 clusters of two a quarter, and other ones for another part."""
    data = read_input(*(folder / "data" / name for name in ("embeddings/base", "prepared", "splits")))

    def kept(part: int) -> NDArray[np.bool_]:
        return drawn(data, 0.25, 13, part)

    assert kept(0).sum() == 20 and (kept(0)[::2] == kept(0)[1::2]).all()
    assert (kept(0) == kept(0)).all() and (kept(0) != kept(1)).any()


def labelled(sizes: Sequence[int], score: float, gain: float) -> list[Labelled]:
    """Returns points of two draws that gain as much with every doubling of the queries, the last of them all."""
    return [
        Labelled(draw, size / sizes[-1], size, size, dict.fromkeys(SCORED, score + gain * place + 0.001 * draw))
        for draw in range(2)
        for place, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(("truth", "is_held"), [(0.56, True), (0.45, False), (0.7, False)])
def test_a_forecast_holds_where_its_interval_has_the_truth(truth: float, is_held: bool) -> None:
    """.4 + .04 a doubling from 50 to 400 queries is .56 at 800."""
    known, whole = labelled([50, 100, 200, 400], 0.4, 0.04), labelled([800], truth, 0.0)
    found = list(checks(known, whole, 1, 0.95))
    assert [one.column for one in found] == list(SCORED)
    one = found[0]
    assert (one.n_known, one.n_all) == (400, 800) and one.value == pytest.approx(0.56, abs=0.005)
    assert one.truth == pytest.approx(truth + 0.0005) and one.is_held == is_held
    assert len(row("data", one)) == len(HEAD)


def test_too_few_different_numbers_of_labels_are_one_line() -> None:
    """Three are."""
    with pytest.raises(BadInput, match="fewer than four different numbers of labels"):
        list(checks(labelled([50, 100, 200], 0.4, 0.04), labelled([400], 0.5, 0.0), 1, 0.95))


def test_the_bench_measures_a_folder_and_the_same_again(folder: Path) -> None:
    """Two hidden halves of four scores each; nothing is written into the folder; without draws one line says why."""
    before = sorted(path for path in folder.rglob("*"))
    found = measure(folder, 0.5, 2)
    assert len(found) == 8 and {one.part for one in found} == {1, 2}
    assert all((one.n_known, one.n_all) == (40, 80) and 0 <= one.low <= one.value <= one.high <= 1 for one in found)
    assert measure(folder, 0.5, 2) == found and sorted(path for path in folder.rglob("*")) == before
    (folder / "params.yaml").write_text(PARAMS.replace("draws: 2", "draws: 0"))
    with pytest.raises(BadInput, match=r"curve\.draws and adapter\.steps are 0 and 30, expected > 0"):
        measure(folder, 0.5, 1)
