"""Results of an evaluation, as report.md and report.html show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.evaluation.report.examples import Rankings
from attune.evaluation.report.summary import Paired
from attune.evaluation.report.what_to_ship import Decision
from attune.tuning.curve import Point


@dataclass(frozen=True)
class Results:
    """Everything that the report shows of a revision.

    Attributes:
        summary: content of report.json.
        receipts: figures of the stages, by name.
        leaks: counts of test items that are also in train or dev, in words; empty where there are none.
        comparisons: base against tuned by task and measure, rows of metrics/plots/comparisons.csv.
        slices: base against tuned by slice of the test queries, rows of metrics/plots/slices.csv with
            the smallest detectable loss and the outcome.
        scores: per-query scores of base and tuned on test.
        rankings: runs of all systems on test.
        curve: training curve.
        points: candidates of stage merge, a row each, base first.
        checkpoints: their scores on dev, a row per checkpoint and average.
        rates: learning rates that stage train probed; empty where the rate was given.
        tasks: base and tuned on the tasks of stage probe.
        domain_tasks: base and tuned on this domain's query sets.
        dimensions: base and tuned under Matryoshka truncation.
        negatives: some mined negatives, drawn at random.
        wins: queries that gained most.
        losses: queries that lost most.
        documents: title and text of the documents in wins and losses, by id.
        closest: most similar leaks of test, by kind.
        judged: shares of mined negatives that are answers, by the name of the sheet that was judged.
        decision: ways to serve queries, and the one that the rule names.
        sizes: bytes and scores of base's and tuned's vectors by storage.
        labels: points of the label curve; empty where it is off.
    """

    summary: Mapping[str, Any]
    receipts: Mapping[str, Mapping[str, Any]]
    leaks: str
    comparisons: Sequence[Mapping[str, Any]]
    slices: Sequence[Mapping[str, Any]]
    scores: Paired
    rankings: Rankings
    curve: Sequence[Point]
    points: Sequence[Mapping[str, Any]]
    checkpoints: Sequence[Mapping[str, Any]]
    rates: Sequence[Mapping[str, Any]]
    tasks: Sequence[Mapping[str, Any]]
    domain_tasks: Sequence[Mapping[str, Any]]
    dimensions: Sequence[Mapping[str, Any]]
    negatives: Sequence[Mapping[str, Any]]
    wins: Sequence[Mapping[str, Any]]
    losses: Sequence[Mapping[str, Any]]
    documents: Mapping[str, Mapping[str, Any]]
    closest: Mapping[str, Sequence[tuple[str, str, float]]]
    judged: Mapping[str, Mapping[str, Any]]
    decision: Decision
    sizes: Sequence[Mapping[str, Any]]
    labels: Sequence[Mapping[str, Any]]
