"""Scores the base encoder with documents read whole and in passages, and what each costs.

    python -m bench.parts.passages RECIPE DATA LENGTH:TOKENS ...

RECIPE is one of examples/, DATA its folder. LENGTH is base.max_length, TOKENS prepare.passages.tokens with a quarter
of them as overlap, 0 for whole documents: `256:0 256:192 512:0`. Runs the stages up to evaluate@base in
scratch/passages. Seconds are those of stage embed@base, which also encodes the queries.
"""

import json
import sys
import time
from pathlib import Path

from attune.evaluation.report.markdown import table
from tests.miniature import ROOT, change, dvc, make

SCRATCH = ROOT / "scratch" / "passages"
FIGURES = ("dev_ndcg@10", "ndcg@10", "recall@10")


def measured(recipe: str, data: Path, max_length: int, tokens: int) -> tuple[dict[str, float], float]:
    """Returns the receipt of evaluate@base with passages of some tokens, and the seconds of encoding."""
    folder = SCRATCH / f"{recipe}_{max_length}_{tokens}"
    make(folder, {"collect": {"path": str(data.resolve())}}, ROOT / "examples" / f"{recipe}.yaml")
    passages = {"tokens": tokens, "overlap": tokens // 4}
    change(folder, {"base": {"max_length": max_length}, "prepare": {"passages": passages}})
    dvc(folder, "repro", "base")
    start = time.perf_counter()
    dvc(folder, "repro", "embed@base")
    seconds = time.perf_counter() - start
    dvc(folder, "repro", "evaluate@base")
    receipt: dict[str, float] = json.loads((folder / "metrics" / "base.json").read_text())
    return receipt, seconds


def main() -> None:
    """Prints a row for each length and way of reading."""
    recipe, data, *ways = sys.argv[1:]
    rows = []
    for way in ways:
        max_length, tokens = map(int, way.split(":"))
        receipt, seconds = measured(recipe, Path(data), max_length, tokens)
        factor = receipt.get("n_passages", receipt["n_documents"]) / receipt["n_documents"]
        figures = [f"{receipt[name]:.3f}" for name in FIGURES]
        rows.append([f"{max_length}", f"{tokens or 'whole'}", f"{factor:.1f}", *figures, f"{seconds:.0f}"])
        print(f"{recipe} {way}: {rows[-1]}", file=sys.stderr, flush=True)
    head = ["max_length", "passages", "vectors per document", *FIGURES, "encoding, s"]
    print(table([f"{recipe}: {head[0]}", *head[1:]], rows, n_text=2))


if __name__ == "__main__":
    main()
