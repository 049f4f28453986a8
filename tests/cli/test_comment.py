"""Headline of the comment: what was new in the test, and near-domain tasks, of this and of older revisions."""

from typing import Any

from attune.cli.review.comment import near_domain_table
from attune.evaluation.checks.facts import Facts


def figures(**receipts: dict[str, Any]) -> Facts:
    """Returns the figures of a folder that holds these receipts."""
    return Facts(receipts)


def test_near_domain_tasks_are_a_table_in_the_comment() -> None:
    """Base beside tuned; names are text whatever they hold; nothing where the report has no such task."""
    tasks = {"near_as_typed": {"n": 1097, "base": 0.5894, "tuned": 0.549}, "a|b": {"n": 3, "base": 0.1, "tuned": 0.2}}
    assert near_domain_table(figures(report={"near_domain": tasks})).splitlines() == [
        "| near the domain, nDCG@10 | n | base | tuned |",
        "| --- | --- | --- | --- |",
        "| near as typed | 1,097 | 0.589 | 0.549 |",
        "| a\\|b | 3 | 0.100 | 0.200 |",
    ]
    assert near_domain_table(figures(report={"near_domain": {}})) == ""
    assert near_domain_table(figures(report={"verdict": "Better"})) == ""
