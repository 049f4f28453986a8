"""The whole pipeline with an encoder behind an endpoint: the figures of the encoder it wraps, and a whole report."""

import json
from pathlib import Path
from typing import Any

import miniature
import pytest
from embeddings_server import embeddings_server
from shipped_params import PANEL, make_shipped

from attune.runtime import verify
from attune.runtime.adapter import QueryAdapter
from attune.stage import all_params


def receipt(folder: Path, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((folder / "metrics" / f"{name}.json").read_text())
    return figures


@pytest.mark.slow  # a pipeline of its own, minutes; its stages are tested in tests/stages/test_served_stages.py
def test_an_encoder_behind_an_endpoint_gets_a_whole_report(
    finished: Path, tmp_path: Path, warm_stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base, hybrid and adapter score as with the encoder's own graph; tuned is base; nothing but the adapter ships."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder, graphs = tmp_path / "served", finished / "models" / "base_exported"
    with embeddings_server(graphs) as api:
        endpoint = all_params(PANEL)["base"]["endpoint"]
        endpoint |= {"url": api.url, "tokenizer": str(graphs / "tokenizer.json"), "price": 0.02}
        changes = {
            "base": {"model": "tuned", "licence": "Apache-2.0", "max_length": 32, "endpoint": endpoint},
            "train": {"epochs": 0},
            "programs": {"tuning": "served"},
        }
        make_shipped(folder, changes | miniature.ONE_THREAD)
        done = miniature.dvc(folder, "repro")
        assert "tokens, price" in done.stderr + done.stdout
        assert len(api.texts) - len(set(api.texts)) < 5  # the known text alone is sent once a stage
    for name in ("base", "hybrid_base"):
        own, local = receipt(folder, name), receipt(finished, name)
        assert own.keys() == local.keys()
        assert own == pytest.approx(local, abs=1e-4)
    base, tuned, report = receipt(folder, "base"), receipt(folder, "tuned"), receipt(folder, "report")
    assert tuned == base
    assert receipt(folder, "adapter")["dev_ndcg@10"] >= base["dev_ndcg@10"]
    assert report["choice"]["sentence"].startswith("Base ships: nothing was trained")
    assert {report["checks"][code]["status"] for code in ("ATT015", "ATT017", "ATT043")} == {"not applicable"}
    assert report["checks"]["ATT044"]["status"] == "passed"
    for page in ("report.md", "report.html"):
        assert "The encoder is behind an endpoint: nothing is exported but" in (folder / "metrics" / page).read_text()
    verify(folder / "models" / "adapter")
    assert QueryAdapter(folder / "models" / "adapter").dim == receipt(folder, "base_encoder")["dim"]
    assert {path.name for path in (folder / "models" / "onnx").iterdir()} == {
        "README.md",
        "encoder.json",
        "manifest.json",
        "trained_on.json",
    }
    assert api.url in (folder / "models" / "onnx" / "README.md").read_text()
    assert "up to date" in miniature.dvc(folder, "status").stdout
