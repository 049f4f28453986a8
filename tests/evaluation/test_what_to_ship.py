"""The rule of *What to ship* on planted scores, and its words: the best, as good as the best, the cheapest of these."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from attune.errors import BadInput
from attune.evaluation.report.choices import CHOICES, cells, columns, duration, plotted, scalars, sentence
from attune.evaluation.report.sizes import sentence as sizes_sentence
from attune.evaluation.report.sizes import sizes_of
from attune.evaluation.report.summary import SCORES, Paired, Rule
from attune.evaluation.report.times import Times, read_times, write_times
from attune.evaluation.report.ways import WAYS, Encodes, Way
from attune.evaluation.report.what_to_ship import Costs, Decision, decided
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.statistics.clusters import by_cluster
from attune.evaluation.statistics.decision import decision_interval
from attune.runtime.arrays import Float64
from attune.tables import write

N = 1000
RULE = Rule(confidence=0.95, margin=0.02, power=0.8)
COSTS = Costs(True, {"tuned": 0.025}, {}, {"base": 1536, "tuned": 1536}, Times(), 0.05)
PLAIN = [way for way in WAYS if way.encodes != Encodes.TOKENS]
SYSTEMS = [way.system for way in PLAIN]


def found(n_found: int, shift: int = 0) -> Float64:
    """The first queries, after a shift, are answered; the others are not."""
    return (np.roll(np.arange(N), shift) < n_found).astype(np.float64)


# hybrid_tuned is best; tuned_int8 misses 2 of its queries, tuned 30, the adapters and base far more
SCORED = {"bm25": found(585), "base": found(707), "hybrid_base": found(740), "adapter": found(829)}
SCORED |= {"hybrid_adapter": found(843), "tuned": found(846), "tuned_int8": found(874), "hybrid_tuned": found(876)}


def decide_on(
    folder: Path,
    scored: dict[str, Float64],
    costs: Costs = COSTS,
    leaked: Collection[str] | None = (),
    **rule: Any,
) -> Decision:
    """Writes the scores, equal in every measure, and applies the rule."""
    ids = [f"q{i:04}" for i in range(N)]
    for system, values in scored.items():
        frame = pl.DataFrame({"query_id": ids, "split": ["test"] * N} | dict.fromkeys(MEASURES, values))
        write(frame, folder / f"runs/{system}/scores.parquet", SCORES)
    sides = (dict.fromkeys(MEASURES, scored[name]) for name in ("base", "tuned"))
    return decided(folder / "runs", Paired(ids, np.arange(N), *sides), leaked, costs, RULE._replace(**rule), PLAIN)


def test_the_cheapest_of_those_as_good_as_the_best_is_named(tmp_path: Path) -> None:
    """Of .876, .874 and .846 only .874 excludes a loss of .02; its query is embedded in int8, without BM25."""
    decision = decide_on(tmp_path, SCORED)
    assert (decision.best, decision.named, decision.without_reindex) == ("hybrid_tuned", "tuned_int8", "hybrid_adapter")
    assert [one.system for one in decision.choices if one.is_as_good] == ["tuned_int8", "hybrid_tuned"]
    assert [one.system for one in decision.choices] == [
        *("bm25", "base", "adapter", "hybrid_base", "hybrid_adapter", "tuned_int8", "tuned", "hybrid_tuned")
    ]
    low, high = decision_interval(by_cluster(SCORED["tuned_int8"] - SCORED["base"], np.arange(N)), 0.95)
    gain = decision.of("tuned_int8").gain
    assert (gain.delta, gain.ci_low, gain.ci_high) == pytest.approx((0.167, float(low), float(high)))
    said = sentence(decision)
    assert said.startswith(f"Ship tuned int8: recall@10 0.874 (+0.167 over base, 95% interval {float(low):+.3f} to ")
    assert "with a new index. It costs least of the 2 choices whose interval excludes a loss of 0.02 against" in said
    assert "the best, hybrid tuned (0.876). Without a new index: hybrid adapter, recall@10 0.843 (+0.136" in said


def test_a_choice_over_the_bases_index_goes_before_one_that_needs_another(tmp_path: Path) -> None:
    """The adapter is as good as tuned to within the margin, and dearer than int8 by the query; its index stays."""
    decision = decide_on(tmp_path, SCORED | {"adapter": found(873)})
    assert decision.named == decision.without_reindex == "adapter"
    assert "Ship adapter: recall@10 0.873" in sentence(decision) and ", over the vectors of base." in sentence(decision)
    assert "Without a new index" not in sentence(decision)


def test_where_drift_needs_no_new_index_the_query_alone_decides(tmp_path: Path) -> None:
    """Base and tuned equal, as without training: int8 is cheapest, and nothing needs a new index."""
    equal = dict.fromkeys(SYSTEMS, found(707)) | {"bm25": found(500)}
    decision = decide_on(tmp_path, equal, Costs(False, {}, {}, {}, Times(), 0.05))
    assert decision.named == "tuned_int8" and not any(one.is_reindexed for one in decision.choices)
    assert decide_on(tmp_path, equal).named == "base"  # where drift asks for one, base's index is kept
    assert sentence(decide_on(tmp_path, equal)).startswith("Keep base: recall@10 0.707")


def test_few_queries_name_the_best_as_nothing_else_is_proven(tmp_path: Path) -> None:
    """8 queries that count, all others leaked: no interval excludes a loss of .02."""
    mixed = {system: found(500, shift) for shift, system in enumerate(SYSTEMS)} | {"hybrid_tuned": np.ones(N)}
    leaked = {f"q{i:04}" for i in range(N) if i % 125}
    decision = decide_on(tmp_path, mixed, leaked=leaked)
    assert decision.n_queries == 8 and decision.named == decision.best == "hybrid_tuned"
    assert "No other choice's interval excludes a loss of 0.02 against it." in sentence(decision)


def test_without_clean_queries_none_is_named(tmp_path: Path) -> None:
    """The table stands on all queries, and says so by naming nothing."""
    decision = decide_on(tmp_path, SCORED, leaked=None)
    assert (decision.named, decision.without_reindex, decision.n_queries) == ("", "", N)
    assert sentence(decision) == "No choice is named: fewer than two clusters of test queries are without leaks."


def test_the_margin_and_the_headline_are_the_rules(tmp_path: Path) -> None:
    """With a margin of .04 tuned's .846 passes, too; the rule in words names both."""
    decision = decide_on(tmp_path, SCORED, margin=0.05, headline="ndcg@10")
    assert decision.of("tuned").is_as_good and decision.headline == "ndcg@10"
    assert decision.rule.startswith("The best has the highest ndcg@10. As good as the best is a choice whose interval ")
    assert "excludes a loss of 0.05" in decision.rule


def test_a_system_scored_on_other_queries_is_refused(tmp_path: Path) -> None:
    """Its file is named."""
    decide_on(tmp_path, SCORED)
    file = tmp_path / "runs/adapter/scores.parquet"
    frame = pl.read_parquet(file).head(N - 1)
    ids = [f"q{i:04}" for i in range(N)]
    write(frame, file, SCORES)
    sides = (dict.fromkeys(MEASURES, SCORED[name]) for name in ("base", "tuned"))
    with pytest.raises(BadInput, match=r"adapter/scores\.parquet: base and adapter were scored on different"):
        decided(tmp_path / "runs", Paired(ids, np.arange(N), *sides), set(), COSTS, RULE, PLAIN)


def test_a_new_way_is_one_entry(tmp_path: Path) -> None:
    """A token-vector encoder over tuned's vectors: cheaper by the query than int8, named where it is as good."""
    own = Way("static", Encodes.TOKENS, "tuned", stages=("static",))
    decide_on(tmp_path, SCORED | {"static": found(875)})
    ids = [f"q{i:04}" for i in range(N)]
    sides = (dict.fromkeys(MEASURES, SCORED[name]) for name in ("base", "tuned"))
    decision = decided(tmp_path / "runs", Paired(ids, np.arange(N), *sides), set(), COSTS, RULE, (*PLAIN, own))
    assert decision.named == "static" and cells(decision)["static"][3:7] == ["yes", "–", "–", "token vectors"]


@pytest.mark.parametrize("losses", [({"tuned": 0.025, "static": 0.56}, {}), ({}, {"static": 0.06})])
def test_what_loses_too_much_on_other_tasks_is_not_named(
    tmp_path: Path, losses: tuple[dict[str, float], dict[str, float]]
) -> None:
    """A lookup as good on test is passed over for the encoder, and the sentence says why."""
    own = Way("static", Encodes.TOKENS, "tuned", stages=("static",), loses="static")
    decide_on(tmp_path, SCORED | {"static": found(875)})
    ids = [f"q{i:04}" for i in range(N)]
    sides = (dict.fromkeys(MEASURES, SCORED[name]) for name in ("base", "tuned"))
    costs = replace(COSTS, general_costs=losses[0], near_costs=losses[1])
    test = Paired(ids, np.arange(N), *sides)
    decision = decided(tmp_path / "runs", test, set(), costs, RULE, (*PLAIN, own))
    assert decision.named == "tuned_int8" and decision.of("static").is_as_good
    where = "56% on a general task" if losses[0] else "6% on a near-domain task"
    assert f"Not named: static, recall@10 0.875, as it loses {where}." in sentence(decision)
    assert "It costs least of the 2 choices" in sentence(decision)
    assert "none that loses more than 5% on a general or near-domain task" in decision.rule
    tuned = decided(tmp_path / "runs", test, set(), replace(COSTS, general_costs={"tuned": 0.2}), RULE, PLAIN)
    assert tuned.named == "hybrid_adapter"


def test_costs_are_summed_over_stages_and_rounds() -> None:
    """Both rounds of train count; a way whose stage nobody measured has no time; one without stages takes none."""
    seconds = {"mine@r1": 10.0, "train@r1": 600.0, "train@r2": 60.0, "merge": 100.0, "export": 30.0, "adapter": 8.0}
    ways = {way.system: way for way in WAYS}
    costs = Costs(True, {}, {}, {}, Times(seconds=seconds), 0.05)
    assert costs.seconds_of(ways["tuned"]) is None  # embed@tuned is missing
    costs = replace(costs, times=Times(seconds=seconds | {"embed@tuned": 200.0, "embed@base": 7.0}))
    assert costs.seconds_of(ways["tuned"]) == 1000 and costs.seconds_of(ways["adapter"]) == 8
    assert costs.seconds_of(ways["base"]) == 0
    assert [duration(one) for one in (8, 1000, 7200)] == ["8 s", "17 min", "2 h 0 min"]


def test_costs_come_from_receipts_and_times() -> None:
    """float32's bytes by encoder, drift's largest losses by system, and the times as they are.

    Without near-domain tasks none was lost there, which is no figure.
    """
    stored = {"base.float32.bytes": 1536, "base.int8.bytes": 384, "tuned.float32.bytes": 1024}
    times = Times("Intel AMX", 2, {"adapter": 8.0}, {"base": 2.5})
    drift = {"is_reindex_needed": True, "largest_cost": 0.03, "adapter.largest_cost": 0.01}
    drift |= {"adapter.largest_cost_of": "find.ndcg@10", "adapter.largest_near_cost": 0.5, "largest_near_cost": 0.0}
    losses, near = {"adapter": 0.01, "base": 0.0, "tuned": 0.03}, {"adapter": 0.5, "base": 0.0, "tuned": 0.0}
    others = ({"base": 1536, "tuned": 1024}, times, 0.05)
    assert Costs.of(drift, stored, times, 0.05) == Costs(True, losses, {}, *others)
    assert Costs.of(drift | {"n_near_domain_tasks": 2}, stored, times, 0.05) == Costs(True, losses, near, *others)


def test_what_is_lost_near_the_domain_stands_in_the_table(tmp_path: Path) -> None:
    """Of each with vectors of its own; a hybrid loses what its vectors lose."""
    costs = Costs(True, {"tuned": 0.025}, {"tuned": 0.0, "adapter": 0.071}, {}, Times(), 0.05)
    decision = decide_on(tmp_path, SCORED, costs)
    place = columns(decision).index("loss near the domain") - 1
    shown = {system: own[place] for system, own in cells(decision).items()}
    assert (shown["adapter"], shown["tuned"], shown["hybrid_tuned"]) == ("+7.1%", "+0.0%", "as tuned")
    assert (shown["bm25"], shown["base"]) == ("no vectors", "–")
    assert scalars(decision)["adapter"]["near_cost"] == 0.071 and "near_cost" not in scalars(decision)["base"]


def test_the_table_and_the_scalars_hold_the_same(tmp_path: Path) -> None:
    """A dash where nothing was measured; no times among the scalars, which `dvc metrics diff` compares.

    What has no loss of its own says whose it is: a hybrid's that of its vectors, and BM25 has none.
    """
    losses = {"base": 0.0, "tuned": 0.025}
    measured = {"embedding_milliseconds": {"adapter": 2.034}, "model_bytes": {"adapter": 91_626_391}}
    times = Times("AMD AVX2", 2, {"adapter": 8.0}, {"adapter": 2.53}, **measured)
    costs = Costs(True, losses, {}, {"tuned": 1536}, times, 0.05)
    decision = decide_on(tmp_path, SCORED, costs)
    assert columns(decision)[:4] == ["choice", "recall@10", "ndcg@10", "gain in recall@10, 95% interval"]
    assert cells(decision)["adapter"][3:] == ["no", "–", "–", "fp32 encoder", "92", "2.5", "2.03", "8 s", "–"]
    assert cells(decision)["hybrid_adapter"][6:] == ["fp32 encoder and BM25", "92", "–", "2.03", "8 s", "–"]
    assert cells(decision)["hybrid_tuned"][3:] == [
        "yes",
        "as tuned",
        "as tuned",
        "fp32 encoder and BM25",
        *"–" * 4,
        "1,536",
    ]
    assert cells(decision)["bm25"][3:7] == ["no", "no vectors", "no vectors", "BM25"]
    assert cells(decision)["base"][2] == "–"
    figures = scalars(decision)
    assert figures["named"] == "tuned_int8" and figures["tuned_int8"]["general_cost"] == 0.025
    assert cells(decision)["tuned"][4] == cells(decision)["tuned_int8"][4] == "+2.5%"
    assert cells(decision)["base"][4] == "+0.0%" and cells(decision)["hybrid_base"][4] == "as base"
    assert figures["tuned_int8"]["gain"] == pytest.approx(0.167) and "bytes_per_vector" not in figures["bm25"]
    assert not [key for own in figures.values() if isinstance(own, dict) for key in own if "seconds" in key]
    rows = plotted(decision)
    assert dict(rows.schema) == dict(CHOICES) and rows["bin"].to_list() == [one.system for one in decision.choices]
    assert rows.filter(pl.col("is_named"))["bin"].to_list() == ["tuned_int8"]


def test_a_column_that_nobody_measured_is_left_out(tmp_path: Path) -> None:
    """Without times the table ends with what making a choice takes, 0 s for base, and the bytes of a vector."""
    decision = decide_on(tmp_path, SCORED)
    assert columns(decision)[8:] == ["made in", "bytes per vector"]
    assert cells(decision)["base"][6:] == ["fp32 encoder", "0 s", "1,536"]
    assert {len(own) for own in cells(decision).values()} == {len(columns(decision)) - 1}


def test_times_survive_their_file_and_other_content_is_refused(tmp_path: Path) -> None:
    """No file and {} are no times; what is none of them is named with its place."""
    assert read_times(tmp_path) == Times() and Times().sentence.startswith("Nobody has measured times")
    (tmp_path / "times.json").write_text("{}\n")
    assert read_times(tmp_path) == Times()
    times = Times("AMD AVX2", 2, {"train@r1": 600.0}, {"tuned": 2.5, "base": 2.25}, {"tuned": 1.5}, {"tuned": 9})
    write_times(tmp_path, times)
    assert read_times(tmp_path) == times and "AMD AVX2, 2 threads" in times.sentence
    (tmp_path / "times.json").write_text('{"seconds": {"train": "long"}}')
    with pytest.raises(BadInput, match=r"times\.json: not what attune times writes \(seconds\.train: .*git checkout"):
        read_times(tmp_path)


def test_the_smallest_storage_that_certainly_keeps_enough_is_named() -> None:
    """int8 and binary pass .98 by their share, but binary's interval reaches below it."""
    kept = {"float32": (1536, 1.0, 1.0), "int8": (384, 0.997, 0.991), "binary": (56, 0.985, 0.97)}
    receipt = {
        f"tuned.{storage}.{key}": value
        for storage, (n_bytes, share, low) in kept.items()
        for key, value in (
            *(("bytes", n_bytes), ("recall@10", 0.8), ("ndcg@10", 0.7 * share)),
            *(("kept_share", share), ("kept_low", low), ("kept_high", 1.0)),
        )
    }
    rows = sizes_of(receipt)
    assert [row["storage"] for row in rows] == ["float32", "int8", "binary"]
    assert sizes_sentence(rows, "tuned", 0.98) == (
        "float32 takes 1,536 bytes a vector of tuned; the smallest storage that certainly keeps 98% of its nDCG@10 is "
        "int8, 384 bytes (99.1% to 100.0% kept)."
    )
    assert "no smaller storage certainly keeps 99% of its nDCG@10" not in sizes_sentence(rows, "tuned", 0.99)
    assert "no smaller storage certainly keeps 99%" in sizes_sentence(rows[:1] + rows[2:], "tuned", 0.99)
    assert sizes_sentence(rows[:1], "tuned", 0.98).startswith("No smaller storage was scored")
