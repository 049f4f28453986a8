"""Compares base and tuned on the same test queries and writes the report.

report.json is for programs and gates, report.md for code hosts, report.html for readers, two csv files for `dvc plots`.
All hold what this revision's receipts and runs say, so no history is needed to read them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from attune.evaluation.calibration.settings import CalibrateParams
from attune.evaluation.checks.catalogue import by_code, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.holes.figures import holes_of
from attune.evaluation.label_points import LABELS
from attune.evaluation.page.contents import page as html_page
from attune.evaluation.page.contents import sources
from attune.evaluation.page.cpu import cpu_class
from attune.evaluation.report.advice import advice, counted_leaks
from attune.evaluation.report.beside import against_champion, meaning_of_scores, other_systems
from attune.evaluation.report.choice import candidate_of, choice_of, looks_of_training
from attune.evaluation.report.choices import CHOICES, plotted, scalars
from attune.evaluation.report.examples import closest_leaks, examples, read_rankings
from attune.evaluation.report.gains import gains_of
from attune.evaluation.report.judged import judged_of
from attune.evaluation.report.markdown import render
from attune.evaluation.report.overfitting import Curve, Limits, judge
from attune.evaluation.report.panels import (
    base_on_dev,
    by_checkpoint,
    dimensions_of,
    domain_tasks,
    interpolation_points,
    near_domain,
    negatives,
    rate_probes,
    tasks_of,
    training_curve,
)
from attune.evaluation.report.results import Results
from attune.evaluation.report.sizes import sizes_of
from attune.evaluation.report.summary import (
    Paired,
    Rule,
    add_comparisons,
    counted_result,
    counted_slices,
    headline,
    headline_results,
    kept_intervals,
    of_slices,
    paired_scores,
)
from attune.evaluation.report.times import read_times
from attune.evaluation.report.verdict import HeadlineResult
from attune.evaluation.report.ways import SCORED, STATIC, SYSTEMS, WAYS
from attune.evaluation.report.what_to_ship import Costs, decided
from attune.evaluation.report.without_leaks import gains_without_leaks, leaked_queries
from attune.evaluation.scoring.receipts import leaks_of_test, read_receipts, receipts_of
from attune.evaluation.statistics.chance import significance_level
from attune.evaluation.statistics.comparisons import TaskComparison, compare_tasks
from attune.evaluation.statistics.decision import Status
from attune.evaluation.statistics.slice_comparisons import (
    SliceComparison,
    SliceCounts,
    SliceRules,
    compare_slices,
    lost,
)
from attune.evaluation.statistics.slices import Traits, by_trait, traits_of
from attune.plots import COMPARISONS, SLICES, read_csv, records_table, write_csv
from attune.stage import PARAMS_FILE, Out, Params, all_params, load_params, run, write_json
from attune.tables import LEAKS, NEGATIVES, QRELS, Leak, read

RECEIPTS = (
    *(
        *SCORED,
        "base_encoder",
        "prepare",
        "split",
        "calibrate",
        "audit",
        "mine",
        "train",
        "merge",
        "query_adapter",
        "seeds",
        "champion",
    ),
    *("drift", "export", "storage", "curve"),
)
PROBED = ("base", "tuned")
SLICED = "ndcg@10"  # measure of the slices

Receipts = Mapping[str, Mapping[str, Any]]


class ReportParams(Params):
    """Measure of the verdict, statistics of the comparisons, limits of overfitting, and size of the examples."""

    headline: Literal["recall@10", "mrr@10", "ndcg@10"]
    seed: int = Field(ge=0)
    power: float = Field(gt=0.5, lt=1)
    n_bins: int = Field(ge=2, le=20)
    n_names: int = Field(ge=2, le=100)
    min_slice_queries: int = Field(ge=2)
    max_slice_loss: float = Field(gt=0, lt=1)
    n_examples: int = Field(ge=0, le=50)
    holes: bool
    max_characters: int = Field(ge=40, le=10_000)
    min_carried_share: float = Field(ge=-1, le=1)
    max_dev_decline: float = Field(ge=0, le=1)

    def slice_rules(self, confidence: float) -> SliceRules:
        """Returns the rules of the comparison by slice."""
        return SliceRules(confidence, self.power, self.max_slice_loss, self.min_slice_queries)


def sliced(
    params: ReportParams, scores: Paired, traits: Traits, confidence: float
) -> tuple[list[SliceComparison], SliceCounts]:
    """Compares base and tuned by slice; returns the slices to show, and the counts of all."""
    slices = by_trait(traits, params.n_bins, params.n_names, params.min_slice_queries)
    base, tuned = scores.base[SLICED], scores.tuned[SLICED]
    rows, counts = compare_slices(slices, base, tuned, scores.clusters, params.slice_rules(confidence))
    return [row for row in rows if row.is_shown], counts


def summarised(
    params: ReportParams,
    receipts: Receipts,
    scores: Paired,
    rows: tuple[Sequence[TaskComparison], Sequence[SliceComparison], SliceCounts],
    leaked: Mapping[str, set[str]],
    results: tuple[HeadlineResult, HeadlineResult | None],
    rule: Rule,
) -> dict[str, Any]:
    """Returns the content of report.json.

    Args:
        params: of the stage.
        receipts: figures of the stages, by name.
        scores: of base and tuned on test.
        rows: comparisons by task and by slice, and the counts of slices.
        leaked: test queries with leaks, by kind of leak.
        results: on all test queries, and on those without leaks.
        rule: of the verdict.
    """
    comparisons, slices, counts = rows
    leaks = leaks_of_test(receipts["split"])
    summary = headline(receipts, SCORED, results, leaks, [asdict(row) for row in lost(slices)])
    summary["n_test_clusters"] = scores.n_clusters
    add_comparisons(summary, comparisons)
    summary["slices"] = of_slices(slices)
    summary["slice_counts"] = counted_slices(slices, counts, params.slice_rules(rule.confidence))
    summary["without_leaks"] = gains_without_leaks(scores, leaked, rule.confidence)
    return summary


def markdown_page(results: Results, params: ReportParams, confidence: float) -> str:
    """Returns report.md."""
    return render(
        "report.md.j2",
        **vars(results),
        params=params,
        confidence=confidence,
        depth=results.rankings.depth,
        level=significance_level(confidence),
        worse=[row for row in results.slices if row["outcome"] == Status.FAILED],
    )


def report(
    params: ReportParams,
    *,
    runs: Path,
    seeds: Path,
    raw: Path,
    prepared: Path,
    splits: Path,
    audit: Path,
    mined: Path,
    round: str,
    metrics: Path,
    champion: Path,
    exported: Path,
    libraries: Path,
    out: Out,
    markdown: Out,
    page: Out,
    comparisons: Out,
    slices: Out,
    choices: Out,
    plotted_choices: Out,
) -> None:
    """Compares base and tuned and writes the report as JSON, Markdown, HTML and csv.

    Confidence and margin are those of section gate. `choices` holds the scalars of *What to ship*.
    """
    limits = load_params(GateParams, "gate")
    rule = Rule(limits.confidence, limits.margin, params.power, params.headline)
    probed, of_static = (read_receipts(metrics / name, PROBED, ()) for name in ("probe", "static"))
    receipts = receipts_of(metrics, RECEIPTS, SCORED, round) | {"probe": probed["base"]}
    tasks, scores = tasks_of(probed["base"], probed["tuned"], receipts["drift"]), paired_scores(runs, splits)
    test, crossing = scores["test"], leaks_of_test(receipts["split"])
    leaks = [Leak(*row) for row in read(audit / "leaks.parquet", LEAKS).iter_rows()]
    answers = read(splits / "test/qrels.parquet", QRELS).select("query_id", "document_id").iter_rows()
    plots, ending = metrics / "plots", "" if round == "r1" else f"_{round}"
    curve, rates = training_curve(plots / f"training{ending}.csv"), rate_probes(plots / f"rates{ending}.csv")
    points = interpolation_points(plots / "merge.csv")
    checkpoints = by_checkpoint(points)
    by_task = compare_tasks(
        {task: (one.base, one.tuned, one.clusters) for task, one in scores.items()}, rule.confidence, rule.power
    )
    by_slice, counts = sliced(params, test, traits_of(test.query_ids, raw, prepared, splits), rule.confidence)
    leaked = leaked_queries(leaks, answers)
    headlines = headline_results(by_task, test, leaked["lexical"], seeds / "scores.parquet", rule)
    summary = summarised(params, receipts, test, (by_task, by_slice, counts), leaked, headlines, rule)
    summary["ndcg@10_kept_interval"] = kept_intervals(runs, test, rule.confidence)
    is_static_off = bool(of_static["base"]["is_off"])  # both are, or none
    left_out = counted_leaks(test, leaked["lexical"], crossing)
    others, beyond = other_systems(receipts, is_static_off, runs, test, left_out, rule)
    summary |= others
    summary |= meaning_of_scores(receipts, load_params(CalibrateParams, "calibrate").precision, rule.confidence)
    summary |= against_champion(champion, receipts, test, leaked["lexical"], rule)
    summary["verdict"] += f" {beyond}" if beyond else ""
    times = read_times(metrics)
    ways = [way for way in WAYS if not (is_static_off and way.system in STATIC)]
    costs = Costs.of(receipts["drift"], receipts["storage"], times, all_params(PARAMS_FILE)["drift"]["max_cost"])
    decision = decided(runs, test, left_out, costs, rule, ways)
    summary |= advice(decision, receipts, times, limits.min_int8_kept)
    merged, trained = receipts["merge"], receipts["train"]
    kept = Curve.of(curve, candidate_of(merged), merged["n_candidates"], looks_of_training(trained, rates))
    overfits = Limits(params.min_carried_share, params.max_dev_decline, rule.confidence)
    summary |= {
        "overfitting": judge(gains_of(runs, splits), kept, overfits),
        "choice": choice_of(merged, trained, receipts["query_adapter"], rates, checkpoints, base_on_dev(runs, splits)),
        "near_domain": {row["task"]: {key: row[key] for key in ("n", "base", "tuned")} for row in near_domain(tasks)},
    }
    rankings, refused = (
        read_rankings(runs, splits / "test", SYSTEMS),
        read(splits / "test/negatives.parquet", NEGATIVES),
    )
    summary |= {
        "judged_negatives": judged_of(metrics, mined),
        "holes": holes_of(
            rankings, refused, test.without(left_out or ()), counted_result(headlines, crossing), receipts["split"]
        )
        if params.holes
        else {},
        "cpu": cpu_class(),
    }
    known = {**receipts, "report": summary, "params": all_params(PARAMS_FILE)}
    summary["checks"] = by_code(findings(Facts(known), limits, ["metrics"]))
    results = Results(
        summary=summary,
        receipts=receipts,
        leaks=crossing,
        comparisons=[asdict(row) for row in by_task],
        slices=[asdict(row) for row in by_slice],
        scores=test,
        rankings=rankings,
        curve=curve,
        points=points,
        checkpoints=checkpoints,
        rates=rates,
        tasks=tasks,
        domain_tasks=domain_tasks(receipts["base"], receipts["tuned"]),
        dimensions=dimensions_of(receipts["base"], receipts["tuned"]),
        negatives=negatives(mined, params.n_examples),
        judged=summary["judged_negatives"],
        **examples(rankings, prepared / "corpus.parquet", params.n_examples, params.seed),
        closest=closest_leaks(leaks, prepared, params.n_examples),
        decision=decision,
        sizes=sizes_of(receipts["storage"]),
        labels=read_csv(plots / "labels.csv", LABELS).to_dicts(),
    )
    write_json(out, summary)
    write_csv(records_table(by_task, COMPARISONS), comparisons, COMPARISONS)
    write_csv(records_table(by_slice, SLICES), slices, SLICES)
    write_json(choices, scalars(decision))
    write_csv(plotted(decision), plotted_choices, CHOICES)
    markdown.write_text(markdown_page(results, params, rule.confidence), encoding="utf-8")
    inputs = [prepared / "corpus.parquet", splits, mined, *(runs / system for system in SYSTEMS)]
    provenance = sources(inputs, exported, PARAMS_FILE, libraries)
    page.write_text(html_page(results, provenance, rule, params.max_characters), encoding="utf-8")


if __name__ == "__main__":
    run(report)
