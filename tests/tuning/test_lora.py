"""LoRA: what is saved is an ordinary encoder, whose linear layers differ from the base's by matrices of the rank."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from training import params, run_params, task, trained

from attune.encoding.encoders import load_torch
from attune.tuning.training.lora import add_adapters, remove_adapters

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
    """Embeddings, norms and biases are the base's bit by bit; singular values beyond the rank are rounding."""
    before, after = (load_file(folder / "model.safetensors") for folder in tuned)
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    linear = {name for name in before if name.startswith("encoder.") and name.endswith("dense.weight")}
    assert linear <= changed and all(name.endswith(".weight") and before[name].ndim == 2 for name in changed)
    assert not any("embeddings" in name for name in changed)
    for name in changed:
        sizes = np.linalg.svd((after[name] - before[name]).double().numpy(), compute_uv=False)
        assert sizes[RANK] < 1e-4 * sizes[0]


def test_the_saved_folder_loads_without_peft(tuned: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the files of the base's folder and no others."""
    files = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in tuned]
    assert files[0] == files[1]
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)  # an import of it fails
    assert SentenceTransformer(str(tuned[1]), device="cpu").encode(["a tree"]).shape == (1, 32)


def test_fresh_adapters_change_no_embedding_and_only_they_are_trained(tuned: tuple[Path, Path]) -> None:
    """Merged or taken out, they leave the encoder as it was."""
    texts = ["find sum and mean", "a dog"]
    for merge in (False, True):
        model = load_torch(tuned[0])
        before = model.encode(texts)
        adapters = add_adapters(model, run_params(lora_rank=RANK))
        model.eval()
        assert np.array_equal(model.encode(texts), before)
        assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
        remove_adapters(adapters, merge=merge)
        assert np.array_equal(model.encode(texts), before)
        assert not any("lora" in name for name in model.state_dict())
