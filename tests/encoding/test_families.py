"""Each family goes through load, training, LoRA, a stop, export and runtime as the table of docs/encoders.md says."""

import json
import re
from pathlib import Path

import pytest
import torch
from families import FIGURES, REFUSED, STEPS, measured
from tiny_encoders import FAMILIES, build

from attune.encoding.encoders import load_torch
from attune.tuning import rehearsal
from attune.tuning.training.fit import DROPOUT, set_dropout
from bench.readme import families as families_table

pytestmark = pytest.mark.usefixtures("torchlib_is_read_once")
KEPT = json.loads(FIGURES.read_text())
MAX_DIFFERENCE = 2e-6  # of a number of an embedding, by rounding


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_does_what_the_table_says(tmp_path: Path, family: str) -> None:
    """The steps that go through, what the others say, the share of int8; runtime equals torch."""
    now, kept = measured(family, tmp_path), KEPT["families"][family]
    for step in STEPS:  # numbers in messages depend on the hardware
        assert re.sub(r"\d[\d.e-]*", "N", str(now.get(step))) == re.sub(r"\d[\d.e-]*", "N", str(kept.get(step)))
    assert now.get("int8_share") == pytest.approx(kept.get("int8_share"), abs=0.02)
    assert now.get("difference", 0) <= MAX_DIFFERENCE


def test_the_table_has_every_family_and_every_refusal() -> None:
    """All of tiny_encoders.FAMILIES in that order, and all kinds that are refused, each with what is said."""
    assert list(KEPT["families"]) == list(FAMILIES)
    assert list(KEPT["refused"]) == list(REFUSED) and all(KEPT["refused"].values())


def test_a_step_that_fails_is_told_in_its_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: weights that are not read back. What came before is yes, what comes after is absent."""
    monkeypatch.setattr(rehearsal, "read_change", fail)
    row = measured("bert", tmp_path)
    said = "own: training fails in the rehearsal (RuntimeError: no such file); choose another base.model"
    assert row == {"class": "BertModel", "pooling": "mean", "loads": True, "trains": said}


def fail(*_: object) -> None:
    """Fails as a library does."""
    raise RuntimeError("no such file")


def test_the_table_says_where_a_family_fails(tmp_path: Path) -> None:
    """Of a step that fails the table has `no` and a footnote with the message; of one that was not tried, nothing."""
    row = {"class": "OwnModel", "pooling": "mean", "loads": True, "trains": "ValueError: no gradient"}
    (tmp_path / "families.json").write_text(json.dumps({"families": {"own": row}, "refused": {"CLIP": "no text"}}))
    table = families_table(tmp_path)
    assert "| OwnModel | mean | yes | no (1) |  |  |  |  |  |" in table
    assert re.search(r"^\(1\) OwnModel, trains: ValueError: no gradient$", table, re.MULTILINE)
    assert "| CLIP | no text |" in table


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_reaches_every_layer_of_a_family(tmp_path: Path, family: str) -> None:
    """At 0 two passes in training are equal; at .5 they differ; each number by any name is set, whole ones, too."""
    model = load_torch(build(tmp_path, family))
    features = model.preprocess(["sort the rows by their norm", "a"])

    def passes(share: float) -> list[torch.Tensor]:
        set_dropout(model, share)
        model.train()
        with torch.no_grad():
            return [model(dict(features))["sentence_embedding"] for _ in range(2)]

    assert not torch.equal(*passes(0.5))
    owners = [*model.modules(), model.transformers_model.config]
    numbers = [v for own in owners for n, v in vars(own).items() if DROPOUT.search(n) and type(v) in (int, float)]
    layers = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert {*numbers, *layers} == {0.5}
    assert torch.equal(*passes(0.0))
