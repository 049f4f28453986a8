"""LoRA: what is saved is an ordinary encoder, whose linear layers differ from the base's by matrices of the rank."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from training import params, run_params, task, trained

from attune.encoding.encoders import load_torch
from attune.tuning.interpolation import difference
from attune.tuning.training.lora import add_adapters, plain_weights

RANK = 2


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> tuple[Path, Path]:
    """Folders of the base and of an encoder tuned by adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    inputs = task(folder, tiny_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _, receipt = trained(folder, inputs, params(lora_rank=RANK, learning_rate=2e-2), "lora")
    assert receipt["kept_dev_ndcg@10"] > receipt["start_dev_ndcg@10"] + 0.1
    return inputs["base"], folder / "lora" / "5"


def test_only_linear_layers_change_and_by_no_more_than_the_rank(tuned: tuple[Path, Path]) -> None:
    """Embeddings, norms and biases stay to the bit; singular values beyond the rank are half precision's rounding."""
    before, after = (load_file(folder / "model.safetensors") for folder in tuned)
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    linear = {name for name in before if name.startswith("encoder.") and name.endswith("dense.weight")}
    assert linear <= changed and all(name.endswith(".weight") and before[name].ndim == 2 for name in changed)
    assert not any("embeddings" in name for name in changed)
    for name in changed:
        sizes = np.linalg.svd((after[name] - before[name]).double().numpy(), compute_uv=False)
        assert sizes[RANK] < 1e-3 * sizes[0]


def test_the_saved_folder_loads_without_peft(tuned: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the files of the base's folder and no others."""
    files = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in tuned]
    assert files[0] == files[1]
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)  # an import of it fails
    assert SentenceTransformer(str(tuned[1]), device="cpu").encode(["a tree"]).shape == (1, 32)


def test_fresh_adapters_change_no_embedding_and_only_they_are_trained(tuned: tuple[Path, Path]) -> None:
    """The plain weights are the base's to the bit."""
    texts = ["find sum and mean", "a dog"]
    model = load_torch(tuned[0])
    before, weights = model.encode(texts), load_torch(tuned[0]).state_dict()
    add_adapters(model, run_params(lora_rank=RANK))
    model.eval()
    assert np.array_equal(model.encode(texts), before)
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
    assert difference(weights, plain_weights(model)) == {}


def test_plain_weights_are_those_that_peft_merges(tuned: tuple[Path, Path]) -> None:
    """Names and order of the base's, values as peft writes them; the encoder in training keeps its adapters."""
    model = load_torch(tuned[0])
    names = list(model.state_dict())
    adapters = add_adapters(model, run_params(lora_rank=RANK))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(generator=torch.Generator().manual_seed(1))
    own = {name: value.clone() for name, value in plain_weights(model).items()}
    assert any("lora_" in name for name in model.state_dict())
    adapters.merge_and_unload()
    merged = model.state_dict()
    assert list(own) == names and own.keys() == merged.keys()
    assert all(torch.equal(own[name], merged[name]) for name in names)
    assert difference(load_torch(tuned[0]).state_dict(), own)
