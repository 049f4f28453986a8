"""Candidates of a round: what training writes is what merge reads, by seed and step."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from merging import SHARES
from safetensors.torch import save_file

from attune.errors import BadInput
from attune.tables import DEV_SCORES, read
from attune.tuning.candidates import Round, read_sample, write_candidates, write_sample
from attune.tuning.curve import BASE, Candidate, Evaluation


def round_of(folder: Path, steps: list[int]) -> Round:
    """Writes and reads a round: base, and each step at shares .5 and 1 with a difference of its number."""
    changes = {step: folder / f"{step}.safetensors" for step in (0, *steps)}
    folder.mkdir()
    for step, file in changes.items():
        save_file({"w": torch.tensor([float(step)]).half()} if step else {}, file)
    shares = [0.0, *SHARES] if 0 in steps else [0.0]
    evaluations = [Evaluation(0, shares, [[0.5, 0.1]] * len(shares))]
    evaluations += [Evaluation(step, list(SHARES), [[0.5, step / 10], [0.6, 0.0]]) for step in steps if step]
    write_candidates(evaluations, changes, ["q2", "q1"], folder / "13")
    return Round(folder / "13", ["q2", "q1"])


def test_a_round_has_what_training_wrote(tmp_path: Path) -> None:
    """Scores by candidate and query, in order; each file is a copy of the run's."""
    own = round_of(tmp_path / "r1", [4, 8])
    assert (own.steps, own.shares) == ([4, 8], [0.5, 1.0])
    assert list(own.values) == [BASE, *(Candidate(step, 1, share) for step in (4, 8) for share in SHARES)]
    np.testing.assert_array_equal(own.values[BASE], [0.5, 0.1])
    np.testing.assert_array_equal(own.values[Candidate(8, 1, 0.5)], [0.5, 0.8])
    assert own.change(Candidate(8, 1, 0.5))["w"].item() == 8
    assert {path.name for path in own.folder.iterdir()} == {
        *(f"{step}.safetensors" for step in (0, 4, 8)), "scores.parquet",
    }  # fmt: skip


def test_a_diverged_checkpoint_is_no_candidate(tmp_path: Path) -> None:
    """Neither by itself nor in an average of the last ones."""
    save_file({}, tmp_path / "0.safetensors")
    evaluations = [Evaluation(0, [0.0], [[0.5]]), Evaluation(4, [0.5, 1.0], [[0.0]] * 2, is_finite=False)]
    write_candidates(evaluations, dict.fromkeys((0, 4), tmp_path / "0.safetensors"), ["q1"], tmp_path / "13")
    own = Round(tmp_path / "13", ["q1"])
    assert (list(own.values), own.steps, own.averages()) == ([BASE], [], [])


@pytest.mark.parametrize("query_ids", [["q1", "q2"], ["q2"], ["q2", "q1", "q3"], ["q2", "q4"]])
def test_scores_of_other_queries_are_refused(tmp_path: Path, query_ids: list[str]) -> None:
    """In another order, fewer, more or others: one line names the file and what to do."""
    round_of(tmp_path / "r1", [4])
    with pytest.raises(BadInput, match=r"13/scores\.parquet: scores of other queries than dev's; run `dvc repro`"):
        Round(tmp_path / "r1" / "13", query_ids)


def test_scores_that_lack_a_query_of_one_candidate_are_refused(tmp_path: Path) -> None:
    """Each candidate is looked at, not the base alone."""
    file = round_of(tmp_path / "r1", [4, 8]).folder / "scores.parquet"
    read(file, DEV_SCORES).filter(~((pl.col("step") == 8) & (pl.col("query_id") == "q1"))).write_parquet(file)
    with pytest.raises(BadInput, match="scores of other queries"):
        Round(file.parent, ["q2", "q1"])


@pytest.mark.parametrize(
    ("chosen", "steps", "expected"),
    [
        (Candidate(8, 1, 0.5), [4, 8], Candidate(8, 1, 0.5)),
        (Candidate(12, 3, 0.5), [4, 8], Candidate(8, 2, 0.5)),
        (Candidate(7, 1, 1.0), [4, 8], Candidate(4, 1, 1.0)),
        (Candidate(2, 1, 1.0), [4, 8], Candidate(4, 1, 1.0)),
        (BASE, [4, 8], BASE),
        # the start of a later round
        (Candidate(0, 1, 0.5), [0, 4, 8], Candidate(0, 1, 0.5)),
        (Candidate(0, 1, 1.0), [0], Candidate(0, 1, 1.0)),
        (Candidate(8, 1, 0.5), [], BASE),
    ],
)
def test_another_seed_gets_its_last_step_before_the_chosen_one(
    tmp_path: Path, chosen: Candidate, steps: list[int], expected: Candidate
) -> None:
    """At the same share; its first step where there is none before, and of an average as many as it has."""
    assert round_of(tmp_path / "r1", steps).nearest(chosen) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([2, 4, 6, 8], [Candidate(8, 3, 0.5), Candidate(8, 3, 1.0)]),
        ([4, 8], [Candidate(8, 2, 0.5), Candidate(8, 2, 1.0)]),
        ([0, 8], []),
        ([4], []),
        ([], []),
    ],
)
def test_averages_are_of_the_last_three_checkpoints(
    tmp_path: Path, steps: list[int], expected: list[Candidate]
) -> None:
    """Or of the last two, at each share; one checkpoint has no average, the start of a run is none."""
    assert round_of(tmp_path / "r1", steps).averages() == expected


def test_an_average_is_the_mean_of_the_differences_before_it(tmp_path: Path) -> None:
    """Of four steps: the last three, and those up to an earlier step, which another seed may have chosen."""
    own = round_of(tmp_path / "r1", [2, 4, 7, 10])
    assert own.change(Candidate(10, 3, 1.0))["w"].item() == 7.0
    assert own.change(Candidate(4, 2, 1.0))["w"].item() == 3.0


def test_the_size_of_devs_sample_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Merge searches dev among as many documents as training did; a round of an older version is refused by name."""
    (tmp_path / "candidates").mkdir()
    with pytest.raises(BadInput, match=r'candidates/dev\.json: expected {"n_sampled_documents": number}; run `dvc'):
        read_sample(tmp_path)
    write_sample(576, tmp_path)
    assert read_sample(tmp_path) == 576
