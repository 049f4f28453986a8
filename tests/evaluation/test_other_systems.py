"""Systems beside base and tuned: their comparisons are a family of their own, and the adapter's sentence is true."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.multitest import multipletests

from attune.errors import BadInput
from attune.evaluation.report.other_systems import (
    COMPARED,
    adapter_sentence,
    compare_others,
    hybrid_sentence,
    static_sentence,
)
from attune.evaluation.report.summary import SCORES, Paired
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.statistics.significance import compare
from attune.tables import write

N = 50
CONFIDENCE = 0.95
SYSTEMS = ("hybrid_base", "alike")


@pytest.fixture
def test_scores(tmp_path: Path) -> Paired:
    """Base, and two systems in data/runs: one .1 better on most queries, one alike."""
    random = np.random.default_rng(0)
    ids, base = [f"q{i:02}" for i in range(N)], random.random(N)
    for name, values in (("hybrid_base", np.clip(base + random.choice([0, 0.1], N), 0, 1)), ("alike", base[::-1])):
        scores = pl.DataFrame({"query_id": ids, "split": ["test"] * N} | dict.fromkeys(MEASURES, values))
        write(scores, tmp_path / f"runs/{name}/scores.parquet", SCORES)
    return Paired(ids, np.arange(N), dict.fromkeys(MEASURES, base), dict.fromkeys(MEASURES, base))


def test_each_system_has_its_interval_and_p_values_are_corrected_over_all(test_scores: Paired, tmp_path: Path) -> None:
    """Six comparisons of two systems with base, one with tuned; statsmodels corrects them to the same p-values."""
    found, against_tuned = compare_others(SYSTEMS, tmp_path / "runs", test_scores, CONFIDENCE)
    table = pl.read_parquet(tmp_path / "runs/hybrid_base/scores.parquet")
    own = {measure: table[measure].to_numpy() for measure in COMPARED}
    alone = compare({name: test_scores.base[name] for name in COMPARED}, own, test_scores.clusters, CONFIDENCE)
    for measure, one in alone.items():
        got = found["hybrid_base"][measure]
        assert (got["delta"], got["ci_low"], got["p_value"]) == (one.delta, one.ci_low, one.p_value)
    flat = [row for rows in found.values() for row in rows.values()] + [against_tuned]
    assert against_tuned["delta"] == alone["recall@10"].delta  # tuned scores as base does here
    expected = multipletests([row["p_value"] for row in flat], method="holm")[1]
    assert [row["p_holm"] for row in flat] == pytest.approx(list(expected))


def test_queries_that_leak_do_not_count(test_scores: Paired, tmp_path: Path) -> None:
    """Comparisons with base and with tuned are those of the other queries, as the verdict's are."""
    leaked = {f"q{i:02}" for i in range(0, N, 3)}
    found, against_tuned = compare_others(SYSTEMS, tmp_path / "runs", test_scores, CONFIDENCE, leaked=leaked)
    rows = np.array([row for row in range(N) if row % 3])
    own = pl.read_parquet(tmp_path / "runs/hybrid_base/scores.parquet")["ndcg@10"].to_numpy()[rows]
    base = {"ndcg@10": test_scores.base["ndcg@10"][rows]}
    alone = compare(base, {"ndcg@10": own}, test_scores.clusters[rows], CONFIDENCE)["ndcg@10"]
    got = found["hybrid_base"]["ndcg@10"]
    assert (got["delta"], got["ci_low"], got["ci_high"]) == (alone.delta, alone.ci_low, alone.ci_high)
    assert against_tuned["delta"] == alone.delta  # tuned scores as base does here, and all measures are alike
    everything, _ = compare_others(SYSTEMS, tmp_path / "runs", test_scores, CONFIDENCE)
    assert everything["hybrid_base"]["ndcg@10"]["delta"] != got["delta"]


def test_a_system_that_was_scored_on_other_queries_is_refused(test_scores: Paired, tmp_path: Path) -> None:
    """Its file is named."""
    file = tmp_path / "runs/alike/scores.parquet"
    pl.read_parquet(file).tail(N - 1).write_parquet(file)
    with pytest.raises(BadInput, match=r"alike/scores\.parquet: base and alike were scored on different test queries"):
        compare_others(SYSTEMS, tmp_path / "runs", test_scores, CONFIDENCE)


@pytest.mark.parametrize(
    ("low", "p", "is_said"), [(0.01, 0.05, True), (0.01, 0.051, False), (0.0, 0.01, False), (-0.1, 0.9, False)]
)
def test_the_verdict_hears_of_an_untrained_hybrid_only_where_it_beats_tuned(
    low: float, p: float, is_said: bool
) -> None:
    """By the interval and by the corrected p-value."""
    said = hybrid_sentence({"delta": 0.04, "ci_low": low, "ci_high": 0.07, "p_holm": p}, 0.741, CONFIDENCE)
    words = "BM25 fused with base, without any training, is better than tuned alone: recall@10 0.741 (+0.040, "
    assert said.startswith(words) if is_said else not said


def test_the_sentence_says_what_the_adapter_is_worth_or_that_it_is_the_identity() -> None:
    """A gain with its interval beside tuned's; the dev figures where base won; the key where it is off."""
    gain = {"delta": 0.112, "ci_low": 0.09, "ci_high": 0.134}
    receipt = {"is_identity": False, "n_steps": 150, "dev_ndcg@10": 0.6449, "base_dev_ndcg@10": 0.5413}
    said = adapter_sentence(receipt, gain, 0.707, 0.882, 0.95)
    assert "from 0.707 to 0.819 (+0.112, 95% interval +0.090 to +0.134), tuned to 0.882" in said
    said = adapter_sentence(receipt | {"is_identity": True}, gain, 0.707, 0.882, 0.95)
    assert "no map of them beats base by more than one standard error (nDCG@10 0.645, base 0.541)" in said
    assert "adapter.steps: 0" in adapter_sentence(receipt | {"is_identity": True, "n_steps": 0}, gain, 0.7, 0.8, 0.95)


def test_the_sentence_says_what_the_static_encoders_keep_and_gain_or_that_they_are_off() -> None:
    """Shares of tuned on test, on paraphrases and near the domain, and the gain over base with its interval."""
    near = {"static_tuned.least_near_kept": 0.9637, "static_tuned.least_near_kept_of": "near_us.ndcg@10"}
    receipts = {
        "drift": near,
        "tuned": {"paraphrases_ndcg@10": 0.5},
        "static_tuned": {"paraphrases_ndcg@10": 0.45},
    }
    others = {"static_base": {"ndcg@10": {"delta": 0.065, "ci_low": 0.04, "ci_high": 0.09}}}
    others["static_tuned"] = {"ndcg@10": {"delta": 0.159}}
    said = static_sentence(False, receipts, others, 0.527, 0.7, 0.95)
    assert "keeps 0.686 of 0.700 (98%) of tuned's ndcg@10 over tuned's documents, on paraphrases 0.450 of" in said
    assert "0.500 (90%), on each near-domain task 96% or more (least: near_us.ndcg@10). Over base's documents" in said
    assert "from 0.527 to 0.592 (+0.065, 95% interval +0.040 to +0.090)." in said
    del receipts["static_tuned"]["paraphrases_ndcg@10"]
    said = static_sentence(False, receipts | {"drift": {}}, others, 0.527, 0.7, 0.95)
    assert "paraphrases" not in said and "near" not in said
    assert "static.steps: 0" in static_sentence(True, receipts, {}, 0.527, 0.7, 0.95)
