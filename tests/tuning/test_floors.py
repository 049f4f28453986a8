"""Floors of merge: what counts as missed, and each text is encoded once per candidate."""

from pathlib import Path
from typing import Any

import pytest
import torch
from merging import SHARES
from safetensors.torch import save_file

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.tuning.candidates import Round, write_candidates
from attune.tuning.choice import Refusal
from attune.tuning.curve import BASE, Candidate, Evaluation
from attune.tuning.dev import RetrievalTask
from attune.tuning.estimates import Estimate
from attune.tuning.floors import GENERAL, Floors, OtherScores, OtherTasks, is_missed
from attune.tuning.interpolation import Interpolation, difference

WHOLE = Candidate(8, 1, 1.0)
TASKS = {
    GENERAL: RetrievalTask({"q": "array"}, {"b": "graph", "a": "array"}, {"q": {"a": 1}}),
    "other": RetrievalTask({"q": "sum"}, {"x": "sum", "y": "array"}, {"q": {"x": 1}}),
}


@pytest.fixture
def other(tmp_path: Path, tiny_encoder: Path) -> OtherTasks:
    """Two tasks over three texts, one of them in both; a checkpoint that knows no word."""
    base = load_torch(tiny_encoder).state_dict()
    ruined = {name: torch.zeros_like(value) if "word_embeddings" in name else value for name, value in base.items()}
    files = {step: tmp_path / f"{step}.safetensors" for step in (0, 8)}
    save_file({}, files[0])
    save_file(difference(base, ruined), files[8])
    evaluations = [Evaluation(0, [0.0], [[0.5]]), Evaluation(8, list(SHARES), [[0.5], [0.5]])]
    write_candidates(evaluations, files, ["q"], tmp_path / "13")
    return OtherTasks(TASKS, Interpolation(tiny_encoder), Round(tmp_path / "13", ["q"]), "fp32")


@pytest.mark.parametrize(
    ("value", "error", "floor", "expected"),
    [
        (0.97, 0.01 + 1e-9, 0.98, False),
        (0.96, 0.01, 0.98, True),
        (1.0, 0.0, 1.0, False),  # exactly the floor is kept
        (0.5, 0.5, 0.98, False),
        # all queries are one cluster: the share itself decides
        (0.97, float("inf"), 0.98, True),
        (0.98, float("inf"), 0.98, False),
        (0.5, float("inf"), 0.0, False),
    ],
)
def test_a_floor_is_missed_by_more_than_its_error(value: float, error: float, floor: float, expected: bool) -> None:
    """By hand: .97 with an error of .01 may be .98, .96 may not."""
    assert is_missed(Estimate(value, error), floor) is expected


@pytest.mark.parametrize(
    ("general", "near", "expected"),
    [
        (0.9, [0.9, 0.9], Refusal.NONE),
        (0.7, [0.7, 0.9], Refusal.GENERAL),
        (0.9, [0.9, 0.7], Refusal.NEAR_DOMAIN),  # one of them is enough
        (0.9, [], Refusal.NONE),
    ],
)
def test_the_floor_that_is_missed_is_named(
    other: OtherTasks, general: float, near: list[float], expected: Refusal
) -> None:
    """General text first; each near-domain task has to keep its floor."""
    kept = {GENERAL: Estimate(general, 0.05), **{f"task_{n}": Estimate(share, 0.05) for n, share in enumerate(near)}}
    other.scored[WHOLE] = OtherScores(dict.fromkeys(kept, 0.5), kept)
    assert other.missed(WHOLE, Floors(0.8, 0.8)) is expected
    assert other.missed(WHOLE, Floors(0.0, 0.0)) is Refusal.NONE


def test_scores_are_those_of_the_candidate(other: OtherTasks) -> None:
    """An encoder that knows no word loses both tasks' ranking; base keeps all of its own score."""
    base, ruined = other.of(BASE), other.of(WHOLE)
    assert {name: share.value for name, share in base.kept.items()} == {GENERAL: 1.0, "other": 1.0}
    for name in TASKS:
        assert base.scores[name] == 1.0 > ruined.scores[name]
        # one query is one cluster
        assert ruined.kept[name] == Estimate(ruined.scores[name], float("inf"))
    assert other.missed(WHOLE, Floors(0.95, 0.0)) is Refusal.GENERAL
    assert other.missed(WHOLE, Floors(0.0, 0.95)) is Refusal.NEAR_DOMAIN
    assert other.missed(BASE, Floors(1.0, 1.0)) is Refusal.NONE


def test_a_text_of_several_tasks_is_encoded_once_per_candidate(
    other: OtherTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base and a candidate encode three texts each, asked twice or not."""
    encoded: list[str] = []
    original = TorchEncoder.encode_document

    def counting(self: TorchEncoder, texts: list[str]) -> Any:
        encoded.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(TorchEncoder, "encode_document", counting)
    for candidate in (WHOLE, BASE, WHOLE):
        assert set(other.of(candidate).scores) == set(TASKS)
    assert encoded == ["array", "graph", "sum"] * 2
