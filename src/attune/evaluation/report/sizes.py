"""Sizes of vectors: what each storage keeps of nDCG@10, and the smallest that keeps enough."""

from collections.abc import Mapping, Sequence
from typing import Any

from attune.evaluation.report.markdown import percent

FULL = "float32"
FIGURES = ("bytes", "recall@10", "ndcg@10", "kept_share", "kept_low", "kept_high")


def sizes_of(receipt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row per encoder and storage, in the order of the receipt of stage storage."""
    names = dict.fromkeys(tuple(key.split(".")[:2]) for key in receipt)
    return [
        {"system": system, "storage": storage} | {name: receipt[f"{system}.{storage}.{name}"] for name in FIGURES}
        for system, storage in names
    ]


def sentence(rows: Sequence[Mapping[str, Any]], system: str, least: float) -> str:
    """Returns the smallest storage of an encoder's vectors that certainly keeps a share of nDCG@10, in words.

    Args:
        rows: from `sizes_of`.
        system: encoder of the vectors.
        least: share that all of the interval must reach.
    """
    own = [row for row in rows if row["system"] == system]
    full = next(row for row in own if row["storage"] == FULL)
    smaller = [row for row in own if row["storage"] != FULL]
    if not smaller:
        return "No smaller storage was scored (storage.storages, evaluate.truncate_dims)."
    whole = f"float32 takes {full['bytes']:,} bytes a vector of {system}"
    good = [row for row in smaller if row["kept_low"] >= least]
    if not good:
        return f"{whole}, and no smaller storage certainly keeps {percent(least, 0)} of its nDCG@10."
    best = min(good, key=lambda row: row["bytes"])
    between = f"{percent(best['kept_low'], 1)} to {percent(best['kept_high'], 1)}"
    return (
        f"{whole}; the smallest storage that certainly keeps {percent(least, 0)} of its nDCG@10 is "
        f"{best['storage'].replace('_', ' ')}, {best['bytes']:,} bytes ({between} kept)."
    )
