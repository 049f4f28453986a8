"""Models that give no single vector per text, compared by cosine, are refused by name before anything is loaded."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import build_tiny_reranker

from attune.cli.base.command import base as described
from attune.encoding.settings import folder_settings
from attune.errors import BadInput

LIBRARY, POOLING = "config_sentence_transformers.json", "1_Pooling/config.json"
Make = Callable[[Path, Path], Path]  # (tiny encoder, empty folder) -> model


def refusal(model: Path) -> str:
    """Returns the line with which the folder is refused; `attune base` ends with the same one."""
    with pytest.raises(BadInput) as caught:
        folder_settings(model.name, model)
    with pytest.raises(BadInput) as told:
        described(str(model), "main", is_written=False)
    assert str(told.value).partition(": ")[2] == str(caught.value).partition(": ")[2]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(file: str, **values: object) -> Make:
    """Returns what copies the tiny encoder with other values in one of its files."""

    def make(tiny: Path, folder: Path) -> Path:
        model = Path(shutil.copytree(tiny, folder / "model"))
        content = json.loads((model / file).read_text()) if (model / file).exists() else {}
        (model / file).write_text(json.dumps(content | values))
        return model

    return make


def with_modules(*types: str) -> Make:
    """Returns what copies the tiny encoder with modules of these types after its transformer."""

    def make(tiny: Path, folder: Path) -> Path:
        model = Path(shutil.copytree(tiny, folder / "model"))
        first = json.loads((model / "modules.json").read_text())[0]
        more = [
            {"idx": place, "name": str(place), "path": f"{place}_X", "type": kind}
            for place, kind in enumerate(types, 1)
        ]
        (model / "modules.json").write_text(json.dumps([first, *more]))
        return model

    return make


def sparse(tiny: Path, folder: Path) -> Path:
    """Saves a SPLADE encoder by the library."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    modules = [MLMTransformer(str(tiny)), SpladePooling()]
    SparseEncoder(modules=modules, device="cpu").save_pretrained(str(folder / "sparse"), create_model_card=False)
    return folder / "sparse"


def cross_encoder(tiny: Path, folder: Path) -> Path:
    """Saves a cross-encoder by the library."""
    from sentence_transformers import CrossEncoder

    reranker = build_tiny_reranker(folder / "plain")
    CrossEncoder(str(reranker), device="cpu").save_pretrained(str(folder / "cross"), create_model_card=False)
    return folder / "cross"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (cross_encoder, "a cross-encoder, which scores pairs .*mine.reranker"),
        (lambda _, folder: build_tiny_reranker(folder / "plain"), "a cross-encoder"),
        (sparse, r"a sparse encoder \(SPLADE\)"),
        (with_modules("sentence_transformers.sparse_encoder.models.SpladePooling"), r"a sparse encoder \(SPLADE\)"),
        (changed(LIBRARY, model_type="MultiVectorEncoder"), r"a multi-vector encoder \(ColBERT\)"),
        (changed("config.json", architectures=["HF_ColBERT"]), r"a multi-vector encoder \(ColBERT\)"),
        (with_modules("pylate.models.Dense.Dense"), r"a multi-vector encoder \(ColBERT\)"),
        (with_modules("sentence_transformers.models.CLIPModel"), "an encoder of images or sound"),
        (changed("config.json", vision_config={"image_size": 8}), "an encoder of images or sound"),
        (changed("config.json", model_type="bart", is_encoder_decoder=True), "a sequence-to-sequence model"),
        (with_modules("sentence_transformers.models.LSTM"), "modules LSTM cannot be exported"),
        (changed(POOLING, pooling_mode=["cls", "mean"]), r"pooling is cls\+mean, expected one of cls, mean"),
        (changed(POOLING, include_prompt=False), "its pooling leaves the prompt out"),
    ],
    ids=range(13),
)
def test_what_cannot_be_expressed_is_refused_by_name(tiny_encoder: Path, tmp_path: Path, make: Make, said: str) -> None:
    """One line says what the folder is, and names encoders to use instead; the command and the stage agree."""
    line = refusal(make(tiny_encoder, tmp_path))
    assert re.search(said, line) and line.endswith("or intfloat/multilingual-e5-small")


def test_a_dot_product_needs_vectors_of_length_1(tiny_encoder: Path, tmp_path: Path) -> None:
    """Normalised, the product is the cosine and nothing is refused; without Normalize the ranking would be another."""
    model = changed(LIBRARY, similarity_fn_name="dot")(tiny_encoder, tmp_path)
    assert folder_settings("x", model).pooling == "mean"
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps(modules[:-1]))
    assert "similarity is dot of vectors that are not normalised" in refusal(model)


def test_encoders_of_text_are_no_other_kind(tiny_encoder: Path, tmp_path: Path) -> None:
    """A plain transformer without modules, one saved with a head for words, and the encoder of T5 are let through."""
    plain = Path(shutil.copytree(tiny_encoder, tmp_path / "plain"))
    (plain / "modules.json").unlink()
    assert folder_settings("x", plain).pooling == ""
    cases: list[dict[str, object]] = [
        {"architectures": ["BertForMaskedLM"]},
        {"model_type": "t5", "is_encoder_decoder": True},
    ]
    for own, values in enumerate(cases):
        model = changed("config.json", **values)(tiny_encoder, tmp_path / str(own))
        assert folder_settings("x", model).dimension == 32
