"""Contents of the page: results, receipts and rankings in the form that its templates take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.evaluation.checks.catalogue import catalogue
from attune.evaluation.page.cpu import cpu_class
from attune.evaluation.page.html import render_page
from attune.evaluation.page.provenance import exported_graphs, fingerprints, parameters, versions
from attune.evaluation.report.choice import candidate_of
from attune.evaluation.report.panels import near_domain
from attune.evaluation.report.results import Results
from attune.evaluation.report.summary import Rule
from attune.evaluation.report.ways import SYSTEMS
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.scoring.receipts import read_receipts
from attune.evaluation.statistics.chance import significance_level

if TYPE_CHECKING:
    from attune.evaluation.page.svg import Chart

DRAWN = "ndcg@10"  # measure of the charts by query
OTHER_TASKS = ("dev", "paraphrases", "train")  # query sets that evaluate scores besides test
OTHER_MEASURES = ("recall@10", "ndcg@10")  # shown of them

Rows = Sequence[Mapping[str, Any]]


def scores_of(receipts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row per query set and measure: task, measure, best score, and each system's score (None if missing)."""
    keys = [("test", measure, measure) for measure in MEASURES]
    keys += [(task, measure, f"{task}_{measure}") for task in OTHER_TASKS for measure in OTHER_MEASURES]
    rows = []
    for task, measure, key in keys:
        scores = {system: receipts[system].get(key) for system in SYSTEMS}
        best = max((score for score in scores.values() if score is not None), default=None)
        if best is not None:
            rows.append({"task": task, "measure": measure, "best": best} | scores)
    return rows


def charts_of(results: Results) -> "dict[str, Chart]":
    """Draws all charts of the page, by name."""
    from attune.evaluation.page import charts, decision_charts  # noqa: PLC0415 - matplotlib takes long to import

    base, tuned = results.scores.base[DRAWN], results.scores.tuned[DRAWN]
    by_measure = [{**row, "label": row["measure"]} for row in results.comparisons if row["task"] == "test"]
    by_slice = [{**row, "label": f"{row['slice']}: {row['bin']}".replace("_", " ")} for row in results.slices]
    drawn = [
        charts.recall(charts.recall_curves(results.rankings)),
        charts.gains(charts.gains_by_size(base, tuned), DRAWN),
        charts.scatter(charts.bubbles(base, tuned), DRAWN),
        charts.forest(by_measure, "measures", "Tuned minus base by measure, on test", "tuned minus base"),
        charts.forest(by_slice, "slices", "Tuned minus base by slice of test", f"{DRAWN}, tuned minus base"),
        charts.training(results.curve, candidate_of(results.receipts["merge"])),
        charts.interpolation(results.points),
        decision_charts.gains(results.decision),
        *([decision_charts.labels(results.labels)] if results.labels else []),
    ]
    return {chart.name: chart for chart in drawn}


def headline_gain(results: Results, rule: Rule) -> Mapping[str, Any]:
    """Returns the comparison of the headline measure that the page shows in large letters.

    If test leaks, it is computed on the leak-free queries, counted in `n_clean`, and empty if fewer than two remain.
    """
    summary = results.summary
    gain: Mapping[str, Any] = summary["paired_without_leaks" if results.leaks else "paired"].get(rule.headline, {})
    if not gain:
        return {}
    return {**gain, "n_clean": summary["without_leaks"]["lexical"]["n_queries"] if results.leaks else None}


def highlights() -> list[str]:
    """Returns the codes of the checks at the top of the page, those that stop a merge first."""
    return [each.code for each in sorted(catalogue(), key=lambda each: not each.fails_gate) if each.on_top]


def sources(inputs: Sequence[Path], exported: Path, settings: Path, libraries: Path) -> dict[str, Any]:
    """Returns the provenance: hashes of files, base encoder, parameters, library versions, class of CPU.

    Args:
        inputs: files and folders of parquet files to hash.
        exported: folder of the exported model, whose manifest names its graphs and the base encoder.
        settings: path of params.yaml.
        libraries: path of libraries.yaml.
    """
    manifest = read_receipts(exported, ["manifest"], ())["manifest"]
    return {
        "files": fingerprints(inputs) + exported_graphs(exported, manifest),
        "encoder": manifest["base"],
        "parameters": parameters(settings),
        "versions": versions(libraries),
        "cpu": cpu_class(),
    }


def page(results: Results, provenance: Mapping[str, Any], rule: Rule, max_characters: int) -> str:
    """Returns the page as HTML.

    Args:
        results: of stage report.
        provenance: from `sources`.
        rule: of the verdict.
        max_characters: shown of a document's text.
    """
    return render_page(
        **{name: value for name, value in vars(results).items() if name not in ("rankings", "scores", "curve")},
        **provenance,
        systems=SYSTEMS,
        headline=rule.headline,
        gain=headline_gain(results, rule),
        near_domain=near_domain(results.tasks),
        confidence=rule.confidence,
        level_of_significance=significance_level(rule.confidence),
        power=rule.power,
        max_characters=max_characters,
        checks=results.summary["checks"],
        highlights=highlights(),
        warning={each.code for each in catalogue() if not each.fails_gate},
        charts=charts_of(results),
        scores=scores_of(results.receipts),
        depth=results.rankings.depth,
    )
