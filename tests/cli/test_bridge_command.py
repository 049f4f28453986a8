"""Command `attune bridge`: lines on the fit, the mapped index, and refusals in one line."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from attune.cli.bridge.command import bridge
from attune.errors import BadInput
from attune.runtime.search import Search

RANDOM = np.random.default_rng(7)
TURN = np.linalg.qr(RANDOM.normal(size=(8, 8)))[0]


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


OLD = unit(RANDOM.normal(size=(90, 8)))
NEW = unit(OLD @ TURN)
IDS = [f"d{row}" for row in range(90)]


def save(folder: Path, vectors: NDArray[np.float32], ids: list[str], encoder: str) -> Path:
    Search.build(vectors, ids, encoder).save(folder)
    return folder


def test_queries_of_the_new_encoder_search_the_mapped_index(tmp_path: Path) -> None:
    """Half of the documents are embedded again, in another order; each document is found by its new vector."""
    old = save(tmp_path / "old", OLD, IDS, "before")
    sample = save(tmp_path / "sample", NEW[40:][::-1].copy(), [*IDS[40:][::-1]], "after")
    lines = list(bridge(old, sample, tmp_path / "out", tmp_path).shown())
    assert lines[0].startswith("fitted on 50 documents that both indexes hold")
    assert lines[1] == "dev cannot judge: the pipeline has not run here (data/embeddings)"
    assert lines[2] == f"{tmp_path / 'out'}: 90 documents, for queries of the new encoder"
    mapped = Search.load(tmp_path / "out", "after")
    assert [hits[0][0] for hits in mapped.top(NEW, 1)] == IDS
    assert mapped.top(NEW[60:61], 1)[0][0][1] == pytest.approx(1, abs=1e-6)  # embedded again, not mapped


def test_indexes_that_no_bridge_joins_are_refused(tmp_path: Path) -> None:
    """One encoder, no document in both, passages: one line each, and nothing is written."""
    old = save(tmp_path / "old", OLD, IDS, "before")
    same = save(tmp_path / "same", OLD[:40], IDS[:40], "before")
    strange = save(tmp_path / "strange", NEW[:40], [f"e{row}" for row in range(40)], "after")
    Search.build(NEW[:40], IDS[:40], "after", passages=[(0, 1)] * 40).save(tmp_path / "cut")
    lines = {
        same: "embedded by the encoder of .*old, expected another",
        strange: "bridge: 0 documents in both indexes, expected 20 or more",
        tmp_path / "cut": "documents in passages, expected one vector per document",
        tmp_path / "nowhere": "not found",
    }
    for sample, line in lines.items():
        with pytest.raises(BadInput, match=line):
            bridge(old, sample, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
