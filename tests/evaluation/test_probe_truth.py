"""The probe reports drift exactly where two public data sets of general English show a loss."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from attune.encoding.encoders import TorchEncoder, best_precision, load_torch
from attune.evaluation import drift
from attune.evaluation.costs import task_costs
from attune.evaluation.drift_verdict import DriftParams, Losses, is_drifted, largest
from attune.evaluation.task_scores import score_classification, score_similarity
from attune.export.static_folder import write_record
from attune.stage import call, load_params
from attune.stages.base import BaseParams, base
from attune.stages.drift import paired_items, read_items
from attune.stages.probe import ProbeParams, probe

ROOT = Path(__file__).resolve().parents[2]
DATASETS = Path(os.environ.get("ATTUNE_DATASETS", ROOT / "../shared/datasets"))
NEEDED = [DATASETS / name for name in ("banking77", "nl2bash", "stsb")]
BATCH_SIZE = 32

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(folder.is_dir() for folder in NEEDED),
        reason=f"no {', '.join(map(str, NEEDED))}: set ATTUNE_DATASETS to a folder that holds them",
    ),
]


@dataclass(frozen=True)
class Judged:
    """The probe's receipt and space of an encoder, and its scores on the public data sets."""

    receipt: dict[str, Any]
    space: np.ndarray[Any, np.dtype[np.float32]]
    stsb: float
    banking77: float


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs(n: int) -> list[tuple[str, str]]:
    """Descriptions of shell commands with the commands: a domain as far from everyday English as can be."""
    folder = DATASETS / "nl2bash"
    queries, documents = ({r["_id"]: r["text"] for r in lines(folder / f"{f}.jsonl")} for f in ("queries", "corpus"))
    rows = [row.split("\t") for row in (folder / "suggested_split/train.tsv").read_text().splitlines()[1:]]
    once = {document: (queries[query], documents[document]) for query, document, _ in rows}
    chosen = np.random.default_rng(0).permutation(list(once))[:n]
    return [once[id_] for id_ in chosen]


def batches(rows: list[tuple[str, str]], epochs: int) -> Iterator[list[tuple[str, str]]]:
    random = np.random.default_rng(0)
    for _ in range(epochs):
        order = random.permutation(len(rows))
        for start in range(0, len(rows) - BATCH_SIZE + 1, BATCH_SIZE):
            yield [rows[row] for row in order[start : start + BATCH_SIZE]]


def train(model: SentenceTransformer, rows: list[tuple[str, str]], learning_rate: float, epochs: int) -> None:
    """The plain recipe, with nothing that would stop it: no dev set, no choice of a checkpoint."""
    max_length, model.max_seq_length = model.max_seq_length, 24  # most texts are shorter, and steps are slow
    model.transformers_model.set_attn_implementation("eager")  # trains fastest on CPUs
    loss = MultipleNegativesRankingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for batch in batches(rows, epochs):
        sides = [model.preprocess([row[side] for row in batch]) for side in (0, 1)]
        with torch.autocast("cpu", torch.bfloat16, enabled=best_precision() == "bf16"):
            value = loss(sides, torch.empty(0))
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.max_seq_length = max_length


def judge(folder: Path, out: Path, unread: Path) -> Judged:
    """The probe as the pipeline runs it; Spearman on STS-B's test pairs, kNN accuracy on a sample of BANKING77's.

    Args:
        folder: of the encoder.
        out: folder of the probe.
        unread: holds no near-domain task, a folder without an adapter, and a static encoder that is off.
    """
    call(
        probe,
        load_params(ProbeParams, "probe"),
        out.with_suffix(".json"),
        system="base",
        model=folder,
        exported=folder,
        adapter=unread / "exported",
        static=unread / "static",
        near_domain=unread / "near_domain",
        out=out,
    )
    encode = TorchEncoder(load_torch(folder), "fp32", 4096).encode_query
    graded = lines(DATASETS / "stsb/test.jsonl")
    sides = (encode([pair[side] for pair in graded]) for side in ("sentence1", "sentence2"))
    stsb = score_similarity(*sides, np.array([pair["score"] for pair in graded], dtype=np.float64))
    intents = lines(DATASETS / "banking77/test.jsonl")[::3]
    vectors, labels = encode([row["text"] for row in intents]), [row["label"] for row in intents]
    banking77 = score_classification(vectors, labels, 5, 4, 1, 0)
    receipt = json.loads(out.with_suffix(".json").read_text())
    return Judged(receipt, np.load(out / "general.npy"), stsb.measures["spearman"], banking77.measures["knn_accuracy"])


def test_the_probe_agrees_with_public_data_on_what_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 epochs over 64 pairs at 100 times the usual rate: all see a loss. A pass over 640 at the usual: none does."""
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    encoder_params = load_params(BaseParams, "base").model_copy(update={"max_length": 96})
    unread = tmp_path / "unread"
    (unread / "near_domain").mkdir(parents=True)
    places = {"out": tmp_path / "base", "exported": unread / "exported"}
    nothing = {"corpus": unread / "none", "train": unread / "none"}
    call(base, encoder_params, None, **nothing, parameters=Path("params.yaml"), **places)
    write_record(unread / "exported", {"is_off": True}, unread / "static")
    probed = tmp_path / "probed"
    before = judge(tmp_path / "base", probed / "base", unread)
    params = load_params(DriftParams, "drift")
    for name, n, learning_rate, epochs in (("over-trained", 64, 2e-3, 20), ("healthy", 640, 2e-5, 1)):
        model = load_torch(tmp_path / "base")
        train(model, pairs(n), learning_rate, epochs)
        model.save_pretrained(str(tmp_path / name), create_model_card=False)
        shutil.rmtree(probed / "tuned", ignore_errors=True)
        after = judge(tmp_path / name, probed / "tuned", unread)
        kept = drift.neighbour_overlap(before.space, after.space)
        costs, unmeasured = task_costs(paired_items(*read_items(probed), before.receipt), 0.95, 0.8)
        losses = Losses(costs, params.max_cost, 0.95, unmeasured)
        says = is_drifted({"general.neighbour_overlap@10": kept}, losses, params)
        falls = {key: 1 - getattr(after, key) / getattr(before, key) for key in ("stsb", "banking77")}
        worst = largest(losses.general)
        print(f"{name}: drifted {says}, {worst}, {kept:.3f} of the neighbours kept, lost elsewhere {falls}")  # noqa: T201
        assert says == (name == "over-trained")
        assert all((fall > params.max_cost) == says for fall in falls.values()), falls
