"""Scores the base encoder with passages off and on, and their cost.

    python -m bench.parts.passages RECIPE DATA [TOKENS ...]

RECIPE is one of examples/, DATA its folder. Runs the stages up to evaluate@base in scratch/passages; seconds are those
of encoding alone.
"""

import json
import sys
import time
from pathlib import Path

from tests.miniature import ROOT, change, dvc, make

SCRATCH = ROOT / "scratch" / "passages"
FIGURES = ("dev_ndcg@10", "ndcg@10", "recall@10")


def measured(recipe: str, data: Path, tokens: int) -> tuple[dict[str, float], float]:
    """Returns the receipt of evaluate@base with passages of some tokens, and the seconds of encoding."""
    folder = SCRATCH / f"{recipe}_{tokens}"
    make(folder, {"collect": {"path": str(data.resolve())}}, ROOT / "examples" / f"{recipe}.yaml")
    change(folder, {"prepare": {"passages": {"tokens": tokens, "overlap": tokens // 4}}})
    dvc(folder, "repro", "base")
    start = time.perf_counter()
    dvc(folder, "repro", "embed@base")
    seconds = time.perf_counter() - start
    dvc(folder, "repro", "evaluate@base")
    receipt: dict[str, float] = json.loads((folder / "metrics" / "base.json").read_text())
    return receipt, seconds


def main() -> None:
    """Prints a row for each length of passages, 0 (off) first."""
    recipe, data, *lengths = sys.argv[1:]
    print(f"| {recipe}: tokens | vectors per document | " + " | ".join(FIGURES) + " | encoding, s |")
    print("|---:" * (len(FIGURES) + 3) + "|")
    for tokens in (0, *map(int, lengths)):
        receipt, seconds = measured(recipe, Path(data), tokens)
        factor = receipt.get("n_passages", receipt["n_documents"]) / receipt["n_documents"]
        figures = " | ".join(f"{receipt[name]:.3f}" for name in FIGURES)
        print(f"| {tokens or 'off'} | {factor:.1f} | {figures} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
