"""Checks on the figures of a run: each can fail alone and gives its figures; a missing figure is a failure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from page_inputs import MERGED
from shipped_params import PANEL
from split_inputs import GIVEN, counted_leaks, prepared, queries

from attune.cli.review.gate import judge_project, reader
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import Finding, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.report.without_leaks import leaked_queries, without_leaks
from attune.stage import load_params
from attune.tables import LEAKS, QRELS, SPLIT_QUERIES, Leak, read

ROOT = Path(__file__).resolve().parents[2]
Receipts = dict[str, dict[str, Any]]


def healthy() -> Receipts:
    paired = {name: {"delta": 0.1, "ci_low": 0.05, "ci_high": 0.15} for name in ("recall@10", "mrr@10", "ndcg@10")}
    return {
        "report": {
            "verdict": "Better: so it is.",
            "too_few_queries": "",
            "smallest_detectable": 0.03,
            "slice_counts": {"outcome": "passed", "sentence": "No loss found in 3 slices."},
            "n_test_queries": 100,
            "n_test_clusters": 100,
            "systems": {"tuned": {"ndcg@10": 0.7}},
            "without_leaks": {"lexical": {"n_queries": 100}},
            "paired": paired,
            "paired_without_leaks": {},
            "paired_over_seeds": {},
            "overfitting": {"status": "not overfitted", "is_overfitted": False, "verdict": "Not overfitted."},
            "ndcg@10_kept_share": {"tuned_int8": 0.995},
            "ndcg@10_kept_interval": {
                "tuned_int8": {"ci_low": 0.99, "ci_high": 1.0},
            },
        },
        "drift": {"is_drifted": False, "is_decided": True, "verdict": "Not drifted."},
        "export": {"fp32_min_cosine": 1.0},
        "merge": dict(MERGED),
        "seeds": {"n_seeds": 1},
        "train": {"n_steps": 9, "n_unfilled_batches": 0, "mean_batch_fill": 1.0},
    }


def written(folder: Path, receipts: Receipts) -> Path:
    (folder / "metrics").mkdir(exist_ok=True, parents=True)
    for name, content in receipts.items():
        (folder / f"metrics/{name}.json").write_text(json.dumps(content))
    return folder


def found(folder: Path, receipts: Receipts, **limits: object) -> list[Finding]:
    params = load_params(GateParams, "gate", PANEL).model_copy(update=limits)
    return findings(Facts(read=reader(written(folder, receipts))), params, ["metrics"])


def blocking(folder: Path, receipts: Receipts, **limits: object) -> dict[str, tuple[str, str]]:
    """Returns status and sentence of the checks that stop the merge, by code."""
    stopped = [each for each in found(folder, receipts, **limits) if each.is_blocking]
    return {each.check.code: (str(each.status), each.sentence) for each in stopped}


def worse(receipts: Receipts) -> None:
    receipts["report"]["paired"]["mrr@10"] = {"delta": -0.1, "ci_low": -0.15, "ci_high": -0.05}


def open_to_a_loss(receipts: Receipts) -> None:
    receipts["report"]["paired"]["recall@10"] = {"delta": -0.01, "ci_low": -0.05, "ci_high": 0.03}


def leaking(receipts: Receipts) -> None:
    receipts["report"]["without_leaks"]["lexical"]["n_queries"] = 90
    receipts["report"]["paired_without_leaks"] = receipts["report"]["paired"]


def overfitted(receipts: Receipts) -> None:
    receipts["report"]["overfitting"] |= {"status": "overfitted", "verdict": "Overfitted: stop earlier."}


def hardly_measured(receipts: Receipts) -> None:
    receipts["report"]["overfitting"] |= {"status": "cannot tell", "verdict": "Cannot tell whether it overfitted."}


def drifted(receipts: Receipts) -> None:
    receipts["drift"] = {"is_drifted": True, "is_decided": True, "verdict": "Drifted: similarity fell."}


def undecided(receipts: Receipts) -> None:
    receipts["drift"] = {"is_drifted": False, "is_decided": False, "verdict": "Undecided whether it drifted."}


def worse_over_seeds(receipts: Receipts) -> None:
    receipts["seeds"]["n_seeds"] = 3
    bad = {"delta": -0.1, "ci_low": -0.1, "ci_high": -0.1}
    receipts["report"]["paired_over_seeds"] = receipts["report"]["paired"] | {"ndcg@10": bad}


def no_parity(receipts: Receipts) -> None:
    receipts["export"]["fp32_min_cosine"] = 0.99


def bad_int8(receipts: Receipts) -> None:
    receipts["report"]["ndcg@10_kept_share"]["tuned_int8"] = 0.96
    receipts["report"]["ndcg@10_kept_interval"]["tuned_int8"] = {"ci_low": 0.94, "ci_high": 0.97989}


def without_key(receipts: Receipts) -> None:
    del receipts["drift"]["is_drifted"]


def text_for_number(receipts: Receipts) -> None:
    receipts["export"]["fp32_min_cosine"] = "1.0"


def test_a_healthy_model_passes_every_check(tmp_path: Path) -> None:
    """No check stops the merge or fails; those on the revision and on dvc.lock are not asked."""
    results = found(tmp_path, healthy())
    assert not any(each.is_blocking or each.status == "failed" for each in results)
    codes = {each.check.code for each in results}
    assert {"ATT001", "ATT007", "ATT017"} <= codes and not codes & {"ATT019", "ATT022", "ATT031"}


@pytest.mark.parametrize(
    ("spoil", "code", "status", "words"),
    [
        (worse, "ATT007", "failed", "mrr@10 -0.100, interval -0.150 to -0.050: a loss above 0.02 is certain (gate.m"),
        (open_to_a_loss, "ATT007", "undecided", "test queries instead of 100 would tell (gate.margin)"),
        (leaking, "ATT008", "failed", "10 of 100 test queries leak (10%); at most 0% (gate.max_leak_share)"),
        (overfitted, "ATT010", "failed", "Overfitted: stop earlier."),
        (hardly_measured, "ATT010", "undecided", "Cannot tell whether it overfitted."),
        (drifted, "ATT011", "failed", "Drifted: similarity fell."),
        (undecided, "ATT011", "undecided", "Undecided whether it drifted."),
        (worse_over_seeds, "ATT007", "undecided", "over 3 seeds -0.100, interval -0.100 to -0.100"),
        (no_parity, "ATT015", "failed", "0.990000"),
        (bad_int8, "ATT017", "failed", "interval 94.00% to 97.98%: less than 98.00% is certain (gate.min_int8_kept)"),
        (without_key, "ATT011", "failed", "has no is_drifted; run `dvc repro` and commit dvc.lock and metrics/"),
        (text_for_number, "ATT015", "failed", "is '1.0', not a number"),
    ],
)
def test_a_planted_fault_is_found_by_its_check_alone(
    tmp_path: Path, spoil: Callable[[Receipts], None], code: str, status: str, words: str
) -> None:
    """Its line has the figures, the limit and the parameter, or the next step."""
    receipts = healthy()
    spoil(receipts)
    stopped = blocking(tmp_path, receipts)
    assert list(stopped) == [code]
    assert stopped[code][0] == status and words in stopped[code][1]


@pytest.mark.parametrize(
    ("n", "figures", "before"),
    [
        (2, (-0.25, -0.5, 0.0), "passed"),
        (20, (-0.144, -0.314, 0.037), "passed"),
        (1000, (-0.004, -0.008, 0.0), "failed"),
    ],
)
def test_cannot_tell_is_an_answer(tmp_path: Path, n: int, figures: tuple[float, ...], before: str) -> None:
    """Two and twenty queries that may have lost a third are undecided; of a thousand, four losses are no loss."""
    receipts = healthy()
    receipts["report"] |= {"n_test_queries": n, "n_test_clusters": n, "without_leaks": {"lexical": {"n_queries": n}}}
    row = dict(zip(("delta", "ci_low", "ci_high"), figures, strict=True)) | {"p_holm": 0.25}
    receipts["report"]["paired"] = dict.fromkeys(receipts["report"]["paired"], row)
    statuses = {str(each.status) for each in found(tmp_path, receipts) if each.check.code == "ATT007"}
    assert statuses == {"passed" if before == "failed" else "undecided"}
    assert bool(blocking(tmp_path, receipts)) == (before == "passed")
    assert not blocking(tmp_path, receipts, undecided="warn")


def test_what_ships_is_what_is_judged(tmp_path: Path) -> None:
    """Four seeds: the shipped encoder lost, the mean of all gained; the shipped one's own interval fails the check."""
    receipts = healthy()
    receipts["seeds"]["n_seeds"] = 4
    report = receipts["report"]
    report["paired_over_seeds"] = report["paired"]
    lost = {"delta": -0.05, "ci_low": -0.07, "ci_high": -0.03, "p_holm": 0.001}
    report["paired"] = dict.fromkeys(report["paired"], lost)
    status, sentence = blocking(tmp_path, receipts)["ATT007"]
    assert status == "failed"
    assert "-0.050, interval -0.070 to -0.030, over 4 seeds +0.100, interval +0.050 to +0.150" in sentence


@pytest.mark.parametrize(
    ("least", "figures", "status"),
    [
        (0.0, (0.01, -0.01, 0.03), "not applicable"),
        (0.05, (0.1, 0.06, 0.15), "passed"),
        (0.05, (0.1, 0.05, 0.15), "undecided"),
        (0.05, (0.02, 0.01, 0.049), "failed"),
        (0.01, (-0.004, -0.009, 0.001), "failed"),
        (0.05, (0.04, 0.01, 0.07), "undecided"),
    ],
)
def test_a_least_gain_is_judged_by_the_interval(
    tmp_path: Path, least: float, figures: tuple[float, ...], status: str
) -> None:
    """A gain of gate.min_delta: certain, ruled out, or neither."""
    receipts = healthy()
    keys = ("delta", "ci_low", "ci_high", "p_holm")
    p = 1.0 if status == "failed" else 0.001  # no difference at all is no gain, either
    receipts["report"]["paired"]["recall@10"] = dict(zip(keys, (*figures, p), strict=True))
    told = {each.check.code: str(each.status) for each in found(tmp_path, receipts, min_delta=least)}
    assert told["ATT004"] == status


@pytest.mark.parametrize(
    ("n", "ceiling", "is_worse", "status"),
    [(0, 1.0, False, "undecided"), (1, 0.3, False, "undecided"), (2, 0.05, False, "passed"), (2, 0.05, True, "failed")],
)
def test_near_domain_tasks_pass_where_a_loss_above_the_limit_is_excluded(
    tmp_path: Path, n: int, ceiling: float, is_worse: bool, status: str
) -> None:
    """A task of few queries, whose interval leaves a loss of 30% open, passes nothing; it warns only."""
    receipts = healthy()
    receipts["drift"] |= {
        "n_near_domain_tasks": n,
        "largest_near_cost": 0.0,
        "near_domain.largest_open_cost": ceiling,
        "near_domain.is_worse": is_worse,
    }
    facts = Facts({"params": {"drift": {"max_cost": 0.05}}}, reader(written(tmp_path, receipts)))
    limits = load_params(GateParams, "gate", PANEL)
    (told,) = [each for each in findings(facts, limits, ["metrics"]) if each.check.code == "ATT006"]
    assert (str(told.status), told.is_blocking) == (status, False)


@pytest.mark.parametrize(("least", "low", "high", "status"), [(0.2, 0.0, 0.1, "passed"), (0.2, 0.3, 0.5, "failed")])
def test_judged_false_negatives_are_compared_with_the_limit(
    tmp_path: Path, least: float, low: float, high: float, status: str
) -> None:
    """By the interval of the share; an estimate of an earlier mining does not count. It warns only."""
    receipts = healthy()
    share = {"ci_low": low, "ci_high": high, "sentence": "So many.", "is_current": True}
    receipts["report"]["judged_negatives"] = {"r1": share, "old": share | {"is_current": False}}
    told = [each for each in found(tmp_path, receipts, max_false_negative_share=least) if each.check.code == "ATT025"]
    assert [(str(each.status), each.sentence, each.is_blocking) for each in told] == [(status, "So many.", False)]


def test_a_split_that_really_leaks_fails_by_its_audit(tmp_path: Path) -> None:
    """One of ten test queries is in train, too: the split finds it, the report counts it, the gate refuses it."""
    table = queries([f"c{i}" for i in range(40)], GIVEN)
    texts = table["text"].to_list()
    texts[0], texts[15] = "alpha beta gamma delta epsilon!", "ALPHA beta gamma delta epsilon"
    folder = prepared(tmp_path / "prepared", table.with_columns(text=pl.Series(texts)))
    assert counted_leaks(tmp_path, folder)["test_leaks.exact_queries"] == 1
    leaks = [Leak(*row) for row in read(tmp_path / "splits/leaks.parquet", LEAKS).iter_rows()]
    answers = list(read(tmp_path / "splits/test/qrels.parquet", QRELS).select("query_id", "document_id").iter_rows())
    query_ids = read(tmp_path / "splits/test/queries.parquet", SPLIT_QUERIES)["query_id"].to_list()
    receipts = healthy()
    receipts["report"] |= {
        "n_test_queries": len(query_ids),
        "without_leaks": without_leaks(query_ids, {}, leaked_queries(leaks, answers)),
        "paired_without_leaks": receipts["report"]["paired"],
    }
    words = "1 of 10 test queries leak (10%); at most 0% (gate.max_leak_share)"
    assert blocking(tmp_path, receipts) == {"ATT008": ("failed", words)}


def test_a_leaking_split_is_judged_by_the_queries_that_do_not_leak(tmp_path: Path) -> None:
    """A loss on the clean queries fails, although all queries together gain."""
    receipts = healthy()
    leaking(receipts)
    bad = {"delta": -0.1, "ci_low": -0.15, "ci_high": -0.05}
    receipts["report"]["paired_without_leaks"] = dict.fromkeys(receipts["report"]["paired"], bad)
    assert set(blocking(tmp_path, receipts)) == {"ATT007", "ATT008"}


def test_with_several_seeds_a_leaking_split_is_judged_over_seeds(tmp_path: Path) -> None:
    """By the intervals of the report's verdict, on clean queries; with hardly a clean query the figure is missing."""
    receipts = healthy()
    leaking(receipts)
    worse_over_seeds(receipts)
    stopped = blocking(tmp_path, receipts)
    assert set(stopped) == {"ATT007", "ATT008"} and "over 3 seeds -0.100" in stopped["ATT007"][1]
    receipts["report"]["paired_without_leaks"] = {}
    assert "too few of 100 test queries are without leaks (ATT008)" in blocking(tmp_path, receipts)["ATT007"][1]
    receipts = healthy()
    receipts["seeds"]["n_seeds"] = 3
    assert "has no paired_over_seeds > recall@10" in blocking(tmp_path, receipts)["ATT007"][1]


@pytest.mark.parametrize("name", ["report", "drift", "export", "seeds"])
def test_a_receipt_that_is_missing_or_broken_fails(tmp_path: Path, name: str) -> None:
    """Each receipt that the checks read."""
    receipts = healthy()
    del receipts[name]
    assert any(f"metrics/{name}.json is missing" in words for _, words in blocking(tmp_path, receipts).values())
    (tmp_path / f"metrics/{name}.json").write_text("{")
    assert any("is not JSON" in words for _, words in blocking(tmp_path, receipts).values())


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """One line with the next step."""
    for name in ("params.yaml", "advanced.yaml"):
        (tmp_path / name).write_text(PANEL.with_name(name).read_text())
    with pytest.raises(BadInput, match="not found; run `dvc repro`"):
        judge_project(tmp_path, "")
