"""The whole pipeline on long documents whose second passage answers: from prepare to report, release and demo."""

import json
import random
from pathlib import Path
from typing import Any

import miniature
import pytest

from attune.cli.demo.comparison import DemoParams, load_search

THINGS = """
apple bridge candle desert engine forest guitar hammer island jacket kettle ladder mirror needle orange pencil rabbit
saddle temple umbrella violin window yellow zebra anchor basket carpet dragon feather glacier
""".split()
VERBS = "repair paint carry weigh clean fold".split()
N_DOCUMENTS = len(THINGS) * len(VERBS)


def write_pairs(file: Path) -> None:
    """Writes a pair per thing and verb; the document speaks of another thing for its first 60 words."""
    draw = random.Random(13)
    rows = []
    for thing in THINGS:
        for verb in VERBS:
            others = [" ".join(draw.choices(THINGS, k=6)).capitalize() + "." for _ in range(8)]
            document = " ".join([*others, f"Here we {verb} the {thing} slowly, and {verb} the {thing} again."])
            rows.append({"query": f"how to {verb} the {thing}", "document": document})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pipeline(folder: Path, pairs: Path, tokens: int, target: str, quick: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Runs the pipeline to a stage on the pairs, with passages of some tokens; returns the scores of base."""
    changes = {
        "collect": {"source": "pairs", "path": str(pairs)},
        "split": {"by": "query"},
        "prepare": {"passages": {"tokens": tokens, "overlap": 0}},
    }
    miniature.make(folder, changes | quick)
    miniature.dvc(folder, "repro", target)
    receipt: dict[str, Any] = json.loads((folder / "metrics" / "base.json").read_text())
    return receipt


def test_passages_from_prepare_to_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, dict[str, Any]], warm_stages: None
) -> None:
    """Base finds answers that it did not read before; training to release go through; the demo shows the passage."""
    pairs = tmp_path / "pairs.jsonl"
    write_pairs(pairs)
    whole = pipeline(tmp_path / "whole", pairs, 0, "evaluate@base", quick)
    cut = pipeline(tmp_path / "cut", pairs, 24, "release", quick)
    assert cut["n_passages"] > 2 * cut["n_documents"] and "n_passages" not in whole
    assert cut["n_documents"] == whole["n_documents"] == N_DOCUMENTS
    assert cut["ndcg@10"] > whole["ndcg@10"] + 0.3
    report = json.loads((tmp_path / "cut" / "metrics" / "report.json").read_text())
    assert report["baseline_recall@10"] == pytest.approx(cut["recall@10"], abs=1e-6)
    monkeypatch.chdir(tmp_path / "cut")
    demo = load_search(tmp_path / "cut", DemoParams(port=0, n_results=3, n_examples=0, depth=20), {})
    base = demo.search("how to paint the zebra", 3).systems[0].hits
    assert "paint the zebra" in base[0].text and len(base[0].text.split()) < 40
