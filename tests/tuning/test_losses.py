"""Losses: values by hand and by numpy, each run the same in two processes, each knob felt."""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from training import ENVIRONMENT, params, run_params, task, trained

from attune.tuning.training.losses import LabelledPairsLoss, MeanTripletLoss, build_loss

QUERIES = ["find sum and mean", "sort the tree", "spline of an edge", "filter the column"]
DOCUMENTS = ["mean sum of the data", "tree sort of the data", "edge spline of the data", "column filter of the data"]
NEGATIVES = ["mean array of the data", "tree of the data", "edge of a graph", "row filter of the data"]


@pytest.fixture
def model(tiny_encoder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_encoder), device="cpu").eval()


def value(model: SentenceTransformer, columns: Sequence[Sequence[str]], **changes: Any) -> torch.Tensor:
    """Returns the loss of a batch; its backward pass has filled the model's gradients."""
    guide = SentenceTransformer(str(model.tokenizer.name_or_path), device="cpu").eval()
    model.zero_grad()
    loss = build_loss(model, run_params(**changes), guide)([model.preprocess(list(column)) for column in columns], None)
    loss.backward()
    return loss.detach()


def gradient(model: SentenceTransformer) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def embedded(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float64]:
    return np.asarray(model.encode(list(texts), normalize_embeddings=True), dtype=np.float64)


def cross_entropy(scores: NDArray[np.float64]) -> float:
    """Returns the mean over rows, the right column of each being on the diagonal."""
    return float(np.mean([np.log(np.exp(row[np.isfinite(row)]).sum()) - row[i] for i, row in enumerate(scores)]))


def test_the_triplet_loss_is_the_mean_over_all_negatives_by_hand() -> None:
    """Distances 0 (document), 1 and 0 (negatives), margin .2: max(0, 0 - 1 + .2) = 0 and max(0, 0 - 0 + .2) = .2."""
    query = torch.tensor([[1.0, 0.0]])
    negatives = [torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])]
    loss = MeanTripletLoss(torch.nn.Identity(), TripletDistanceMetric.COSINE, 0.2)
    assert loss.compute_loss_from_embeddings([query, query, *negatives], None).item() == pytest.approx(0.1)


def test_the_contrastive_loss_labels_documents_and_negatives_by_hand() -> None:
    """Two rows, one negative each, margin .5, in 1 - cosine: documents at 0 and 1, negatives at 0 and 1.

    Halves of squares: 0 and 1/2 for the documents, .5 ** 2 / 2 = .125 and 0 for the negatives; their mean is .15625.
    """
    right, up = [1.0, 0.0], [0.0, 1.0]
    query, documents, negatives = torch.tensor([right, right]), torch.tensor([right, up]), torch.tensor([right, up])
    loss = LabelledPairsLoss(torch.nn.Identity(), margin=0.5)
    assert loss.compute_loss_from_embeddings([query, documents, negatives], None).item() == pytest.approx(0.15625)


@pytest.mark.parametrize("symmetric", [False, True])
def test_mnrl_is_the_softmax_over_the_documents_of_the_batch(model: SentenceTransformer, symmetric: bool) -> None:
    """Equals numpy's: the right document among all documents and negatives; symmetric, also the right query."""
    query, documents = embedded(model, QUERIES), embedded(model, DOCUMENTS)
    expected = cross_entropy(20 * query @ np.concatenate([documents, embedded(model, NEGATIVES)]).T)
    if symmetric:
        expected = (expected + cross_entropy(20 * documents @ query.T)) / 2
    loss = value(model, [QUERIES, DOCUMENTS, NEGATIVES], symmetric=symmetric)
    assert loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"symmetric": True}, {"matryoshka_dims": [8]}], ids=str)
def test_cached_mnrl_is_mnrl_in_parts(model: SentenceTransformer, changes: dict[str, Any]) -> None:
    """The same value and the same gradient, for parts of any size."""
    columns = [QUERIES, DOCUMENTS, NEGATIVES]
    whole, whole_gradient = value(model, columns, **changes), gradient(model)
    for size in (1, 3):
        parts = value(model, columns, loss="cached_mnrl", mini_batch_size=size, **changes)
        assert parts.item() == pytest.approx(whole.item(), abs=1e-5)
        assert torch.allclose(gradient(model), whole_gradient, atol=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("size", [0, 3])
def test_gist_leaves_out_documents_as_near_to_the_guide_as_the_right_one(
    model: SentenceTransformer, margin: float, size: int
) -> None:
    """Equals numpy's, with the encoder as its own guide: negatives above the right document's cosine less a margin go.

    One negative is the right document's own text, so there is always something to leave out.
    """
    negatives = [DOCUMENTS[0], *NEGATIVES[1:]]
    query, documents, others = (embedded(model, texts) for texts in (QUERIES, DOCUMENTS, negatives))
    scores = query @ np.concatenate([documents, others]).T
    right = np.diag(scores)[:, None]
    left_out = scores > right - abs(right) * margin - 1e-6
    left_out[np.arange(4), np.arange(4)] = False
    assert left_out.any() and not left_out.all()
    expected = cross_entropy(np.where(left_out, -np.inf, 20 * scores))
    changes = {"loss": "gist", "guide_margin": margin, "guide_same_side": False, "mini_batch_size": size}
    # a hair's breadth of margin, because equal texts have equal scores but for rounding
    loss = value(model, [QUERIES, DOCUMENTS, negatives], **changes | {"guide_margin": max(margin, 1e-5)})
    assert loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("loss", ["mnrl", "triplet", "contrastive", "gist"])
def test_matryoshka_adds_the_loss_of_the_first_dimensions(
    model: SentenceTransformer, tiny_encoder: Path, loss: str
) -> None:
    """Equals the loss of the whole embedding plus that of an encoder truncated to 8 dimensions."""
    columns = [QUERIES, DOCUMENTS, NEGATIVES]
    guide = SentenceTransformer(str(tiny_encoder), device="cpu").eval() if loss == "gist" else None
    features = [model.preprocess(column) for column in columns]
    plain = build_loss(model, run_params(loss=loss), guide)([dict(f) for f in features], None).item()
    both = build_loss(model, run_params(loss=loss, matryoshka_dims=[8]), guide)(
        [dict(f) for f in features], None
    ).item()
    inner = build_loss(model, run_params(loss=loss), guide)
    inner.model = Truncated(model, 8)
    assert both == pytest.approx(plain + inner([dict(f) for f in features], None).item(), abs=1e-4)


class Truncated(torch.nn.Module):
    """Encoder whose embeddings are truncated and normalised again."""

    def __init__(self, model: SentenceTransformer, dimension: int) -> None:
        super().__init__()
        self.model, self.dimension = model, dimension

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        whole = self.model(dict(features))["sentence_embedding"]
        return {"sentence_embedding": torch.nn.functional.normalize(whole[:, : self.dimension], dim=1)}


VARIANTS: dict[str, dict[str, Any]] = {
    "mnrl": {},
    "symmetric": {"symmetric": True},
    "cached": {"loss": "cached_mnrl", "mini_batch_size": 3},
    "gist": {"loss": "gist"},
    "cached gist": {"loss": "gist", "mini_batch_size": 3},
    "triplet": {"loss": "triplet"},
    "contrastive": {"loss": "contrastive"},
    "matryoshka": {"matryoshka_dims": [8, 16]},
    "lora": {"lora_rank": 2, "learning_rate": 2e-2},
    "mixed": {"general_share": 0.25},
    "distilled": {"distill_weight": 1.0},
    "all": {
        "loss": "gist", "mini_batch_size": 3, "matryoshka_dims": [8], "lora_rank": 2, "learning_rate": 2e-2,
        "general_share": 0.25, "distill_weight": 1.0,
    },
}  # fmt: skip


# trained in a second process, too: each kind of loss, and all that changes a run together
REPEATED = ("mnrl", "symmetric", "cached", "triplet", "contrastive", "all")


@pytest.fixture(scope="module")
def twice(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, warm_stages: Path
) -> list[dict[str, list[str]]]:
    """Every variant's result in another process, a fork of its own for each; the repeated ones' in this one, too."""
    changes = [{"epochs": 2, **variant} for variant in VARIANTS.values()]
    there, here = (tmp_path_factory.mktemp("losses") for _ in range(2))
    task(there, tiny_encoder)
    inputs = task(here, tiny_encoder)
    request = json.dumps({"folder": str(there), "jobs": [{"changes": each} for each in changes]}) + "\n"
    program = [warm_stages, "-m", "killed_runs"]
    done = subprocess.run(program, input=request, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    others = json.loads(done.stdout.splitlines()[-1])
    own = []
    with contextlib.chdir(here):
        for name in REPEATED:
            models, _ = trained(here, inputs, params(**{"epochs": 2, **VARIANTS[name]}), "out")
            own.append([models, *((here / f"out{end}").read_text() for end in (".json", ".csv", "-rates.csv"))])
    return [
        dict(zip(VARIANTS, (each["result"] for each in others), strict=True)),
        dict(zip(REPEATED, own, strict=True)),
    ]


@pytest.mark.parametrize("name", REPEATED)
def test_two_processes_give_the_same_bytes(twice: list[dict[str, list[str]]], name: str) -> None:
    """Models, receipt and curve, with each kind of loss; what else changes a run is in the last variant."""
    assert twice[0][name] == twice[1][name]


@pytest.mark.parametrize("name", VARIANTS)
def test_dev_gets_better_with_each_variant(twice: list[dict[str, list[str]]], name: str) -> None:
    """The kept weights are above the start."""
    receipt = json.loads(twice[0][name][1])
    assert receipt["kept_dev_ndcg@10"] > receipt["start_dev_ndcg@10"]


def test_every_variant_trains_another_encoder(twice: list[dict[str, list[str]]]) -> None:
    """No parameter is without effect."""
    assert len({models for models, *_ in twice[0].values()}) == len(VARIANTS)
