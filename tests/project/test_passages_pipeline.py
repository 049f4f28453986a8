"""Long documents whose second passage answers, from collect to the demo; the walkthrough ships on passages."""

import json
import random
import shutil
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


def scores_of_base(folder: Path) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads((folder / "metrics" / "base.json").read_text())
    return receipt


def passages_of(tokens: int) -> dict[str, dict[str, Any]]:
    return {"prepare": {"passages": {"tokens": tokens, "overlap": 0}}}


def test_base_finds_in_passages_what_it_does_not_read_without(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, dict[str, Any]]
) -> None:
    """Answers beyond the encoder's length count, document by document; the demo shows the passage."""
    pairs, folder = tmp_path / "pairs.jsonl", tmp_path / "pipeline"
    write_pairs(pairs)
    changes = {"collect": {"source": "pairs", "path": str(pairs)}, "split": {"by": "query"}}
    miniature.make(folder, changes | passages_of(24) | quick)
    for name in ("base", "base_exported"):  # as the miniature has made them, rehearsal included
        shutil.copytree(finished / "models" / name, folder / "models" / name)
    stages = ("prepare", "split", "embed@base", "evaluate@base")
    miniature.dvc(folder, "repro", "--single-item", "collect", *stages)
    cut = scores_of_base(folder)
    assert cut["n_passages"] > 2 * cut["n_documents"] and cut["n_documents"] == N_DOCUMENTS
    (folder / "data/embeddings/tuned").symlink_to("base")  # stands in for what ships
    (folder / "models/onnx").symlink_to("base_exported")
    monkeypatch.chdir(folder)
    demo = load_search(folder, DemoParams(port=0, n_results=3, n_examples=0, depth=20), {})
    base = demo.search("how to paint the zebra", 3).systems[0].hits
    assert "paint the zebra" in base[0].text and len(base[0].text.split()) < 40
    miniature.change(folder, passages_of(0))
    miniature.dvc(folder, "repro", "--single-item", *stages)
    whole = scores_of_base(folder)
    assert "n_passages" not in whole and whole["n_documents"] == N_DOCUMENTS
    assert cut["ndcg@10"] > whole["ndcg@10"] + 0.3
