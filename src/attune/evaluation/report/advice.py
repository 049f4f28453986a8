"""Sentences of report.json on choices, vector sizes and further labels."""

from collections.abc import Mapping
from typing import Any

from attune.evaluation.label_points import sentence as labels_sentence
from attune.evaluation.report.choices import cells, columns
from attune.evaluation.report.choices import sentence as ship_sentence
from attune.evaluation.report.sizes import sentence as sizes_sentence
from attune.evaluation.report.sizes import sizes_of
from attune.evaluation.report.summary import Paired
from attune.evaluation.report.times import Times
from attune.evaluation.report.ways import WAYS
from attune.evaluation.report.what_to_ship import Decision


def counted_leaks(test: Paired, leaked: set[str], leaks: str) -> set[str] | None:
    """Returns the test queries that the verdict leaves out; None where fewer than two clusters would be left."""
    if not leaks:
        return set()
    return leaked if test.without(leaked).n_clusters > 1 else None


def advice(
    decision: Decision, receipts: Mapping[str, Mapping[str, Any]], times: Times, min_kept: float
) -> dict[str, Any]:
    """Returns what report.json says of choices, vector sizes and further labels.

    Sizes are those of the vectors that the named choice searches; of tuned's where it searches none.
    """
    vectors = next((way.vectors for way in WAYS if way.system == decision.named and way.vectors), "tuned")
    return {
        "what_to_ship": {
            "named": decision.named,
            "sentence": ship_sentence(decision),
            "rule": decision.rule,
            "times": times.sentence,
            "columns": columns(decision),
            "rows": cells(decision),
        },
        "sizes": sizes_sentence(sizes_of(receipts["storage"]), vectors, min_kept),
        "labels": labels_sentence(receipts["curve"], decision.headline),
    }
