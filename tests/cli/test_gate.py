"""Gate: every rule can fail and gives its figures; a missing figure is a failure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from split_inputs import GIVEN, counted_leaks, prepared, queries

from attune.cli.review.gate import FIGURE_RULES, GateParams, judge_figures
from attune.errors import BadInput
from attune.evaluation.report.summary import leaked_queries, without_leaks
from attune.stage import load_params
from attune.tables import LEAKS, QRELS, SPLIT_QUERIES, Leak, read

ROOT = Path(__file__).resolve().parents[2]
Receipts = dict[str, dict[str, Any]]


def healthy() -> Receipts:
    paired = {name: {"delta": 0.1, "ci_low": 0.05, "ci_high": 0.15} for name in ("recall@10", "mrr@10", "ndcg@10")}
    return {
        "report": {
            "n_test_queries": 100,
            "without_leaks": {"lexical": {"n_queries": 100}},
            "paired": paired,
            "paired_without_leaks": {},
            "paired_over_seeds": {},
            "overfitting": {"is_overfitted": False, "verdict": "Not overfitted."},
            "ndcg@10_kept_share": {"onnx": 1.0, "onnx_int8": 0.995},
        },
        "drift": {"is_drifted": False, "verdict": "Not drifted."},
        "export": {"fp32_min_cosine": 1.0},
        "merge": {"retention": 0.99, "is_retention_met": True},
        "seeds": {"n_seeds": 1},
    }


def written(folder: Path, receipts: Receipts) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in receipts.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def failing(folder: Path, receipts: Receipts) -> dict[str, str]:
    params = load_params(GateParams, "gate", ROOT / "params.yaml")
    findings = judge_figures(params, written(folder, receipts))
    return {finding.rule: finding.figures for finding in findings if not finding.passes}


def worse(receipts: Receipts) -> None:
    receipts["report"]["paired"]["mrr@10"] = {"delta": -0.1, "ci_low": -0.15, "ci_high": -0.05}


def below_delta(receipts: Receipts) -> None:
    receipts["report"]["paired"]["recall@10"] = {"delta": -0.01, "ci_low": -0.05, "ci_high": 0.03}


def leaking(receipts: Receipts) -> None:
    receipts["report"]["without_leaks"]["lexical"]["n_queries"] = 90
    receipts["report"]["paired_without_leaks"] = receipts["report"]["paired"]


def overfitted(receipts: Receipts) -> None:
    receipts["report"]["overfitting"] = {"is_overfitted": True, "verdict": "Overfitted: stop earlier."}


def drifted(receipts: Receipts) -> None:
    receipts["drift"] = {"is_drifted": True, "verdict": "Drifted: similarity fell."}


def undecided(receipts: Receipts) -> None:
    receipts["drift"] = {"is_drifted": False, "is_decided": False, "verdict": "Undecided whether it drifted."}


def worse_over_seeds(receipts: Receipts) -> None:
    receipts["seeds"]["n_seeds"] = 3
    bad = {"delta": -0.1, "ci_low": -0.1, "ci_high": -0.1}
    receipts["report"]["paired_over_seeds"] = receipts["report"]["paired"] | {"ndcg@10": bad}


def forgetful(receipts: Receipts) -> None:
    receipts["merge"] = {"retention": 0.9, "is_retention_met": False}


def worse_next_door(receipts: Receipts) -> None:
    receipts["merge"] |= {"is_near_domain_met": False, "near_domain_kept": 0.93}


def no_parity(receipts: Receipts) -> None:
    receipts["export"]["fp32_min_cosine"] = 0.99


def bad_int8(receipts: Receipts) -> None:
    receipts["report"]["ndcg@10_kept_share"]["onnx_int8"] = 0.98969  # rounded to one digit it would be the floor


def without_key(receipts: Receipts) -> None:
    del receipts["drift"]["is_drifted"]


def text_for_number(receipts: Receipts) -> None:
    receipts["export"]["fp32_min_cosine"] = "1.0"


def test_a_healthy_model_passes_every_rule(tmp_path: Path) -> None:
    """Every rule about figures is applied."""
    params = load_params(GateParams, "gate", ROOT / "params.yaml")
    findings = judge_figures(params, written(tmp_path / "m", healthy()))
    assert all(finding.passes for finding in findings)
    assert {finding.rule for finding in findings} == set(FIGURE_RULES)


@pytest.mark.parametrize(
    ("spoil", "rule", "words"),
    [
        (worse, "gain", "mrr@10 -0.100, interval -0.150 to -0.050"),
        (below_delta, "gain", "delta at least +0 (gate.min_delta)"),
        (leaking, "leakage", "10 of 100 test queries leak (10%); at most 0% (gate.max_leak_share)"),
        (overfitted, "overfitting", "Overfitted: stop earlier."),
        (drifted, "drift", "Drifted: similarity fell."),
        (undecided, "drift", "Undecided whether it drifted."),
        (worse_over_seeds, "gain", "ndcg@10 -0.100, interval -0.100 to -0.100"),
        (forgetful, "retention", "keeps 90.00% of the base's nDCG@10"),
        (worse_next_door, "retention", "keeps 93.00% of the base's nDCG@10; the floor is merge.min_near_domain"),
        (no_parity, "parity", "0.990000"),
        (bad_int8, "what ships", "onnx_int8 keeps 98.96% of tuned nDCG@10; at least 99.00% (gate.min_int8_kept)"),
        (without_key, "drift", "has no is_drifted; run `dvc repro` and commit dvc.lock and metrics/"),
        (text_for_number, "parity", "is '1.0', not a number"),
    ],
)
def test_a_planted_fault_fails_its_rule_alone(
    tmp_path: Path, spoil: Callable[[Receipts], None], rule: str, words: str
) -> None:
    """Its message has the figures, the limit and the parameter, or the next step."""
    receipts = healthy()
    spoil(receipts)
    failures = failing(tmp_path / "m", receipts)
    assert list(failures) == [rule]
    assert words in failures[rule]


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
    assert failing(tmp_path / "m", receipts) == {
        "leakage": "1 of 10 test queries leak (10%); at most 0% (gate.max_leak_share)"
    }


def test_a_leaking_split_is_judged_by_the_queries_that_do_not_leak(tmp_path: Path) -> None:
    """A loss on the clean queries fails, although all queries together gain."""
    receipts = healthy()
    leaking(receipts)
    bad = {"delta": -0.1, "ci_low": -0.15, "ci_high": -0.05}
    receipts["report"]["paired_without_leaks"] = dict.fromkeys(receipts["report"]["paired"], bad)
    assert set(failing(tmp_path / "m", receipts)) == {"gain", "leakage"}


def test_with_several_seeds_a_leaking_split_is_judged_over_seeds(tmp_path: Path) -> None:
    """By the intervals of the report's verdict, on clean queries; with hardly a clean query the figure is missing."""
    receipts = healthy()
    leaking(receipts)
    worse_over_seeds(receipts)
    failures = failing(tmp_path / "m", receipts)
    assert set(failures) == {"gain", "leakage"} and "ndcg@10 -0.100" in failures["gain"]
    receipts["report"]["paired_without_leaks"] = {}
    assert "has no paired_without_leaks > recall@10" in failing(tmp_path / "m", receipts)["gain"]
    receipts = healthy()
    receipts["seeds"]["n_seeds"] = 3
    assert "has no paired_over_seeds > recall@10" in failing(tmp_path / "m", receipts)["gain"]


@pytest.mark.parametrize("name", ["report", "drift", "export", "merge", "seeds"])
def test_a_receipt_that_is_missing_or_broken_fails(tmp_path: Path, name: str) -> None:
    """Each receipt that the rules read."""
    receipts = healthy()
    del receipts[name]
    assert any("is missing" in words for words in failing(tmp_path / "m", receipts).values())
    (tmp_path / "m" / f"{name}.json").write_text("{")
    assert any("is not JSON" in words for words in failing(tmp_path / "m", receipts).values())


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """One line with the next step."""
    with pytest.raises(BadInput, match="not found; run `dvc repro`"):
        judge_figures(load_params(GateParams, "gate", ROOT / "params.yaml"), tmp_path / "none")
