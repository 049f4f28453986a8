"""Protocol of the split in words: what was new in the test (split.by)."""

from collections.abc import Mapping
from typing import Any

REWRITTEN = {"near_as_typed", "near_as_searched"}  # tasks of stage near_domain: the test queries themselves, rewritten


def new_in_test(split: Mapping[str, Any], leaks: str = "") -> str:
    """Returns what test had that training had not seen, such as "new queries and new documents (split.by: cluster)".

    Where documents are known, it also says that negatives are mined among all of them: one that is not judged for a
    train query may answer a test query.

    Args:
        split: receipt of stage split; one without `by` is of a revision that knew clusters only.
        leaks: counts of test items that are also in train or dev, in words; empty where there are none.
    """
    by = split.get("by", "cluster")
    but = f", but for {leaks}" if leaks else ""
    if by == "cluster":
        return f"new queries and new documents{but} (split.by: cluster)"
    known = split.get("test_known_answers_share")
    knew = "" if known is None else f"training knew {known:.0%} of the answers from other queries, and "
    return f"new queries{but} over known documents; {knew}mined negatives may answer test queries (split.by: query)"


def only_like_these(probed: Mapping[str, Any]) -> str:
    """Returns a sentence for verdicts that rest on queries like these alone, "" where a near-domain task has others.

    Args:
        probed: receipt of stage probe, {"<task>.counts_as": "near_domain", ...}.
    """
    near = {
        key.partition(".")[0] for key, value in probed.items() if key.endswith(".counts_as") and value == "near_domain"
    }
    if near - REWRITTEN:
        return ""
    forms = ", as given and as rewritten by rules" if near else ""
    return f"Measured on queries like these only{forms}."
