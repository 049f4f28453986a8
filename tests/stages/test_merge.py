"""Merge ships what dev chose among base, checkpoints and averages; what it saves is what was scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from merging import SHARES, WEIGHTS, Case, bits, files_of, ndcg, params
from pydantic import ValidationError
from safetensors.torch import save_file

from attune.encoding.encoders import load_torch
from attune.errors import BadInput
from attune.plots import MERGE_CURVE
from attune.stages.merge import general_task, read_near_domain
from attune.tables import SPLIT_QUERIES, read, write
from attune.tuning.curve import BASE, Candidate
from attune.tuning.dev import RetrievalScorer
from attune.tuning.general_text import GeneralText, Pair, read_general_text
from attune.tuning.interpolation import read_change


def test_the_general_task_is_of_the_evaluation_half_alone() -> None:
    """Two answers to one question, one passage for two; passages of the train half are no distractors."""
    general = GeneralText([Pair("f", "P1"), Pair("g", "P2")], [Pair("a", "P3"), Pair("a", "P1"), Pair("b", "P3")])
    task = general_task(general)
    assert task.queries == {"a": "a", "b": "b"}
    assert list(task.corpus) == ["P1", "P3"]
    assert task.relevant == {"a": {"P3": 1, "P1": 1}, "b": {"P3": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"keep": "first"},
        {"round": "../r1"},
        {"min_retention": 1.1},
        {"min_near_domain": 1.1},
        {"min_near_domain": -0.1},
        {"min_gain_kept": -0.1},
        {"min_gain_kept": 1.1},
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, Any]) -> None:
    """Limits outside 0..1, a round that is a path, and another choice than best or last."""
    with pytest.raises(ValidationError):
        params(**change)


def chosen_of(receipt: dict[str, Any]) -> Candidate:
    return Candidate(receipt["step"], receipt["n_averaged"], receipt["share"])


@pytest.fixture
def case(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.chdir(tmp_path)
    return Case(tmp_path, tiny_encoder)


def test_the_saved_encoder_is_the_one_that_was_scored(case: Case) -> None:
    """The receipt's scores are those of the saved model alone; the other seed has its own at the same place."""
    receipt = case.run()
    chosen = chosen_of(receipt)
    assert chosen != BASE
    assert bits(load_torch(case.root / "tuned")) == case.encoder(13, chosen)
    assert bits(load_torch(case.root / "seeds" / "7")) == case.encoder(7, chosen)
    assert json.loads((case.root / "seeds" / "seeds.json").read_text()) == {"first": 13, "others": [7]}
    for folder in ("tuned", "seeds/7"):
        assert (case.root / folder / "attune.json").read_bytes() == (case.base / "attune.json").read_bytes()
    dev, general = case.dev(), general_task(read_general_text(case.root / "general.jsonl"))
    assert receipt["dev_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", dev), abs=1e-6)
    assert receipt["base_dev_ndcg@10"] == pytest.approx(ndcg(case.base, dev), abs=1e-6)
    assert receipt["general_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", general), abs=1e-6)
    assert receipt["base_general_ndcg@10"] == pytest.approx(ndcg(case.base, general), abs=1e-6)
    kept = receipt["general_ndcg@10"] / receipt["base_general_ndcg@10"]
    assert receipt["retention"] == pytest.approx(kept, abs=1e-5)
    assert receipt["keep"] == "best" and receipt["min_retention"] == 0.0
    assert 0 < receipt["retention_standard_error"] < 1
    assert receipt["n_general_queries"] == len(general.queries) < 16
    assert (receipt["n_dev_queries"], receipt["n_dev_documents"], receipt["n_seeds"]) == (16, 16 + 8, 2)


def test_the_table_has_a_row_per_candidate(case: Case) -> None:
    """Base, two checkpoints and their average at two shares each; the best beyond noise is chosen."""
    receipt, curve = case.run(), case.curve()
    assert curve.columns == list(MERGE_CURVE)
    places = [(0, 1, 0.0), *((step, n, share) for step, n in ((4, 1), (8, 1), (8, 2)) for share in SHARES)]
    assert curve.select("step", "n_averaged", "share").rows() == places
    assert receipt["n_candidates"] == len(places) == 7
    base, best = curve.row(0, named=True), curve[1:].sort("dev_ndcg@10", descending=True).row(0, named=True)
    assert best["dev_ndcg@10"] - base["dev_ndcg@10"] > best["se"] > 0 == base["se"]
    assert curve["is_chosen"].sum() == curve["is_next"].sum() == 1
    (own,) = curve.filter("is_chosen").rows(named=True)
    assert receipt["gain_standard_error"] == pytest.approx(own["se"], abs=1e-6)
    assert (own["dev_ndcg@10"], own["step"], own["share"]) == (best["dev_ndcg@10"], receipt["step"], receipt["share"])
    (after,) = curve.filter("is_next").rows(named=True)
    assert (after["step"], after["n_averaged"], after["share"]) == tuple(
        receipt[f"next_{name}"] for name in ("step", "n_averaged", "share")
    )
    assert receipt["next_dev_ndcg@10"] == pytest.approx(after["dev_ndcg@10"], abs=1e-6)
    is_noise = 0 < after["dev_ndcg@10"] - base["dev_ndcg@10"] <= after["se"]
    assert receipt["next_reason"] == ("within noise" if is_noise else "")
    assert receipt["next_standard_error"] == pytest.approx(after["se"], abs=1e-6)
    # only base and the chosen one came into question
    assert curve["general_ndcg@10"].is_not_null().to_list() == [
        not row["step"] or row == own for row in curve.rows(named=True)
    ]


def test_without_training_base_ships_to_the_byte(case: Case) -> None:
    """train.epochs: 0 leaves no candidate but the base; each seed gets the base's files."""
    for seed in (13, 7):
        case.write_round(seed, {})
    receipt = case.run(min_retention=1.0, min_near_domain=1.0)
    assert (chosen_of(receipt), receipt["n_candidates"]) == (BASE, 1)
    assert receipt["dev_ndcg@10"] == receipt["base_dev_ndcg@10"] and receipt["retention"] == 1.0
    assert receipt["gain_standard_error"] == 0 and not [key for key in receipt if key.startswith("next")]
    for folder in ("tuned", "seeds/7"):
        assert files_of(case.root / folder) == files_of(case.base)
    assert case.curve().height == 1
    assert case.run(keep="last")["step"] == 0


def test_a_lead_within_noise_ships_the_base(case: Case) -> None:
    """One won query of 16 may be chance; the receipt names the candidate that was not taken, and why."""
    won = np.zeros(16)
    won[3] = 0.8
    gains: Any = {(4, 0.5): won, (4, 1.0): -won}
    case.write_round(13, {4: case.towards(0.5, 13)}, gains)
    receipt = case.run()
    assert chosen_of(receipt) == BASE
    assert (receipt["next_step"], receipt["next_share"], receipt["next_reason"]) == (4, 0.5, "within noise")
    assert receipt["next_dev_ndcg@10"] == pytest.approx(0.15) and receipt["next_standard_error"] == pytest.approx(0.05)
    assert files_of(case.root / "tuned") == files_of(case.base) == files_of(case.root / "seeds" / "7")
    assert case.curve()["general_ndcg@10"].is_not_null().to_list() == [True, False, False]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"min_retention": 0.98}, "general text"), ({"min_near_domain": 0.98}, "near domain")],
)
def test_a_candidate_that_forgets_ships_the_base(case: Case, limits: dict[str, float], reason: str) -> None:
    """A checkpoint that knows no word, but wins on dev: refused by its floor, and taken without one."""
    case.add_near_domain("as_typed")
    save_file(case.good, case.base / WEIGHTS, metadata={"format": "pt"})
    words = next(name for name in case.good if name.endswith("word_embeddings.weight"))
    ruined = case.good | {words: torch.zeros_like(case.good[words])}
    for seed in (13, 7):
        case.write_round(seed, {4: ruined}, {(4, 0.5): -0.05, (4, 1.0): 0.6})
    receipt = case.run(**limits)
    assert (chosen_of(receipt), receipt["next_step"], receipt["next_reason"]) == (BASE, 4, reason)
    assert receipt["retention"] == receipt["near_domain_kept"] == 1.0
    curve = case.curve()
    for column in ("general_ndcg@10", "near_domain_ndcg@10"):
        assert curve[column].null_count() == 1 and curve[column][2] < curve[column][0]
    free = case.run()
    assert chosen_of(free) == Candidate(4, 1, 1.0)
    assert free["retention"] < 0.98 and free["near_domain_kept"] < 0.98


@pytest.mark.parametrize(("min_gain_kept", "share"), [(1.0, 1.0), (0.9, 0.5)])
def test_as_much_gain_is_given_up_as_min_gain_kept_allows(case: Case, min_gain_kept: float, share: float) -> None:
    """Half of the weights have .95 of the gain."""
    case.write_round(13, {4: case.towards(0.5, 13)}, {(4, 0.5): 0.76, (4, 1.0): 0.8})
    assert chosen_of(case.run(min_gain_kept=min_gain_kept)) == Candidate(4, 1, share)


def test_keep_last_ships_the_last_checkpoint_whatever_dev_says(case: Case) -> None:
    """All of its weights, though it is worse than the base and misses every floor; it is the only candidate."""
    gains = {(4, 0.5): 0.2, (4, 1.0): 0.4, (8, 0.5): 0.1, (8, 1.0): -0.05}
    case.write_round(13, {4: case.towards(0.9, 13), 8: case.noisy(9, 9.0)}, gains)
    receipt, curve = case.run(keep="last", min_retention=1.0), case.curve()
    assert chosen_of(receipt) == Candidate(8, 1, 1.0)
    assert receipt["dev_ndcg@10"] < receipt["base_dev_ndcg@10"]
    assert (receipt["keep"], receipt["min_retention"], receipt["n_candidates"]) == ("last", 1.0, 1)
    assert not [key for key in receipt if key.startswith("next")]
    assert curve.select("step", "share", "is_chosen", "is_next").rows() == [
        (0, 0.0, False, False), (8, 1.0, True, False),
    ]  # fmt: skip
    assert bits(load_torch(case.root / "tuned")) == case.encoder(13, Candidate(8, 1, 1.0))


def test_keep_last_scores_nothing_on_dev(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dev's scores are training's: only general text is searched, by the base and by the encoder that ships."""
    searched: list[int] = []
    original = RetrievalScorer.__call__

    def counting(self: RetrievalScorer, *arguments: Any) -> Any:
        searched.append(len(self.documents))
        return original(self, *arguments)

    monkeypatch.setattr(RetrievalScorer, "__call__", counting)
    receipt = case.run(keep="last")
    assert len(searched) == 2 and receipt["n_dev_documents"] not in searched


def test_errors_that_cannot_be_told_are_left_out(case: Case) -> None:
    """All dev queries are one cluster: no gain is beyond noise, base ships, and the table's column is empty."""
    file = case.root / "dev" / "queries.parquet"
    write(read(file, SPLIT_QUERIES).with_columns(cluster_id=pl.lit("c")), file, SPLIT_QUERIES)
    receipt = case.run()
    assert (chosen_of(receipt), receipt["next_reason"]) == (BASE, "within noise")
    assert receipt["gain_standard_error"] == 0 and "next_standard_error" not in receipt
    assert case.curve()["se"].to_list() == [0.0, *[None] * 6]
    assert "gain_standard_error" not in case.run(keep="last")


def test_scores_of_another_dev_are_refused(case: Case) -> None:
    """A round that was scored before dev changed; no output is left behind."""
    file = case.root / "dev" / "queries.parquet"
    write(read(file, SPLIT_QUERIES)[::-1], file, SPLIT_QUERIES)
    with pytest.raises(BadInput, match=r"13/scores\.parquet: scores of other queries than dev's; run `dvc repro`"):
        case.run()
    assert not (case.root / "tuned").exists()


def test_an_average_of_checkpoints_ships_where_it_is_best(case: Case) -> None:
    """Two checkpoints with opposite noise: only their mean is the good encoder, for both seeds."""
    noise = {
        name: value - self for (name, value), self in zip(case.noisy(3, 4.0).items(), case.good.values(), strict=True)
    }
    pair = {4: {name: value + noise[name] for name, value in case.good.items()}}
    pair[8] = {name: value - noise[name] for name, value in case.good.items()}
    for seed in (13, 7):
        case.write_round(seed, pair)
    receipt = case.run()
    assert chosen_of(receipt) == Candidate(8, 2, 1.0)
    assert receipt["dev_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", case.dev()), abs=1e-6)
    assert bits(load_torch(case.root / "tuned")) == case.encoder(13, Candidate(8, 2, 1.0))
    assert files_of(case.root / "seeds" / "7") == files_of(case.root / "tuned")


def test_the_receipt_has_each_near_domain_task_beside_the_base(case: Case) -> None:
    """Scores equal an evaluation of the saved model alone, with the title before the text; the curve has the mean."""
    for name in ("as_indexed", "as_typed"):
        case.add_near_domain(name)
    receipt = case.run(min_near_domain=0.1)
    assert receipt["min_near_domain"] == 0.1 and receipt["near_domain_standard_error"] > 0
    tasks = read_near_domain(case.root / "near_domain")
    assert list(tasks) == ["as_indexed", "as_typed"]
    assert tasks["as_typed"].corpus["d00"] == "graph array graph in short"
    for name, task in tasks.items():
        assert receipt[f"near_{name}_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", task), abs=1e-6)
        assert receipt[f"base_near_{name}_ndcg@10"] == pytest.approx(ndcg(case.base, task), abs=1e-6)
        assert receipt[f"n_near_{name}_queries"] == 16
    share_kept = receipt["near_as_typed_ndcg@10"] / receipt["base_near_as_typed_ndcg@10"]
    assert receipt["near_domain_kept"] == pytest.approx(share_kept, abs=1e-5)
    near = case.curve().filter("is_chosen")["near_domain_ndcg@10"]
    assert near[0] == pytest.approx(receipt["near_as_typed_ndcg@10"], abs=1e-6)


def test_without_near_domain_tasks_the_receipt_claims_nothing_about_them(case: Case) -> None:
    """No key speaks of a near domain; the curve's column is empty."""
    assert not [key for key in case.run(min_near_domain=1.0) if "near" in key]
    assert case.curve()["near_domain_ndcg@10"].null_count() == 7


def test_a_near_domain_task_without_judgments_of_dev_is_refused(case: Case) -> None:
    """The message names the missing file; judgments of test are not used in their place."""
    case.add_near_domain("as_typed")
    qrels = case.root / "near_domain" / "as_typed" / "qrels"
    (qrels / "dev.tsv").rename(qrels / "test.tsv")
    with pytest.raises(BadInput, match=r"as_typed/qrels/dev\.tsv: not found; run `dvc repro`"):
        case.run()


def test_the_same_input_gives_the_same_bytes(case: Case) -> None:
    """Two runs of the stage write equal models, receipt and table."""
    written = []
    for _ in range(2):
        case.run()
        tables = [(case.root / name).read_bytes() for name in ("merge.json", "merge.csv")]
        written.append((files_of(case.root / "tuned"), files_of(case.root / "seeds"), tables))
    assert written[0] == written[1]


def test_a_difference_to_another_base_is_refused(case: Case) -> None:
    """A shorter position table is named in one line; no output is left behind."""
    for file in (case.root / "r1" / "candidates" / "13").glob("[1-9]*.safetensors"):
        change = dict(read_change(file))
        name = next(name for name in change if "position_embeddings" in name)
        save_file(change | {name: change[name][:40].clone()}, file)
    with pytest.raises(BadInput, match=r"1 tensors .*position_embeddings.*got \(40, 32\), expected \(64, 32\)"):
        case.run()
    assert not (case.root / "tuned").exists() and not list(case.root.rglob("*.partial"))


def test_a_round_without_the_first_seed_is_refused(case: Case) -> None:
    """The message lists the seeds that the round has."""
    with pytest.raises(BadInput, match=r"r1: no encoder of seed 5, only of \[7, 13\]; run `dvc repro`"):
        case.run(first=5)
