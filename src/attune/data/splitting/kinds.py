"""Kinds of leaks: what each compares, which stage counts it, and which count under a protocol."""

from collections.abc import Sequence

from attune.tables import LEXICAL, SEMANTIC

# documents whose other form (data/prepared/forms.parquet), or that of the match, makes the two near-duplicates
FORMS = ("near_forms",)
# texts whose base embedding is near that of a text in the other role
SEMANTIC_CROSSED = ("semantic_crossed_queries", "semantic_crossed_documents")
# counted by stage audit; the kinds of stage split are LEXICAL
OF_STAGE_AUDIT = (*FORMS, *SEMANTIC, *SEMANTIC_CROSSED)
ALL_KINDS = (*LEXICAL, *OF_STAGE_AUDIT)


def role(kind: str) -> str:
    """Returns what leaks in leaks of a kind, "queries" or "documents"."""
    return "queries" if kind.endswith("_queries") else "documents"


def is_crossed(kind: str) -> bool:
    """Says if the leaked text and its match have different roles."""
    return "crossed" in kind


def audited(kinds: Sequence[str], by: str) -> tuple[str, ...]:
    """Returns the kinds that are leaks under a protocol: split.by: query shares documents on purpose."""
    return tuple(kind for kind in kinds if by == "cluster" or role(kind) == "queries")
