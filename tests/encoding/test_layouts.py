"""Folders as sentence-transformers reads them: each layout gives the same vectors there, in stage base and exported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from families import REFUSED, brought, graph_of, refusals, without_rehearsal
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tiny_encoders import MAX_LENGTH, build, in_own_folder

from attune.cli.base.command import base as described
from attune.encoding.encoders import load_torch
from attune.encoding.layouts import files_of, needed, save_anew
from attune.encoding.settings import SETTINGS_FILES, folder_settings
from attune.errors import BadInput
from attune.runtime import Embedder

pytestmark = pytest.mark.usefixtures("torchlib_is_read_once")
TEXTS = ["Stack ARRAYS vertically", "", "a", "Sort the ROWS by their norm, then look at them. " * 5]


def older_name(folder: Path) -> None:
    """Puts lower-casing into a file of the name that version 1 gave it."""
    (folder / SETTINGS_FILES[0]).unlink()
    (folder / SETTINGS_FILES[1]).write_text(json.dumps({"max_seq_length": MAX_LENGTH, "do_lower_case": True}))


def lower_case(folder: Path) -> None:
    """Switches lower-casing on in the file of today's name."""
    (folder / SETTINGS_FILES[0]).write_text(json.dumps({"max_seq_length": MAX_LENGTH, "do_lower_case": True}))


def numbered(folder: Path) -> None:
    """Moves the transformer into a folder of its own, 0_Transformer."""
    in_own_folder(folder, "0_Transformer")


def named(folder: Path) -> None:
    """Moves the transformer into a folder of any name, with lower-casing in its tokenizer alone."""
    in_own_folder(folder, "transformer")


def dotted(folder: Path) -> None:
    """Names the encoder's own folder ./ as the transformer's."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "./"
    (folder / "modules.json").write_text(json.dumps(modules))


def bins(folder: Path) -> None:
    """Saves all weights, the Dense layers' too, as pytorch_model.bin."""
    for file in folder.rglob("model.safetensors"):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()


def bare(folder: Path) -> None:
    """Leaves a transformer without modules, whose tokens' mean the library takes."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    (folder / "modules.json").unlink()
    (folder / SETTINGS_FILES[0]).unlink()


def vocabulary_alone(folder: Path) -> None:
    """Leaves a WordPiece vocabulary as vocab.txt, without the fast tokenizer's file."""
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in sorted(words, key=words.get)))
    (folder / "tokenizer.json").unlink()


def all_at_once(folder: Path) -> None:
    """Combines all that version 1 wrote otherwise."""
    older_name(folder)
    bins(folder)
    numbered(folder)


LAYOUTS: dict[str, tuple[str, bool, Callable[[Path], None]]] = {
    "today": ("bert", True, lambda folder: None),
    "older name": ("roberta", False, older_name),
    "lower case": ("roberta", False, lower_case),
    "0_Transformer": ("bert", False, numbered),
    "transformer": ("bert", True, named),
    "./": ("bert", True, dotted),
    "bin": ("bert", True, bins),
    "no modules": ("bert", False, bare),
    "vocab.txt": ("bert", False, vocabulary_alone),
    "version 1": ("roberta", True, all_at_once),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_gives_the_vectors_that_sentence_transformers_gives(tmp_path: Path, layout: str) -> None:
    """The library's vectors of the folder as it lies are those of what stage base writes, torch's and the graph's."""
    family, has_dense, change = LAYOUTS[layout]
    folder = build(tmp_path, family, has_dense=has_dense, has_prompts=True)
    change(folder)
    truth = SentenceTransformer(str(folder), device="cpu")
    truth.max_seq_length = MAX_LENGTH
    prompts = dict(truth.prompts)
    expected = truth.encode(TEXTS, batch_size=1, normalize_embeddings=True)
    with without_rehearsal():
        out = brought(folder, tmp_path / "base")
    own = load_torch(out)
    assert own.prompts == prompts
    np.testing.assert_allclose(own.encode(TEXTS, batch_size=1, normalize_embeddings=True), expected, atol=1e-6)
    np.testing.assert_allclose(Embedder(graph_of(out), threads=1).encode(TEXTS), expected, atol=1e-6)
    assert np.allclose(*own.encode(["SORT", "sort"], batch_size=1))  # by the tokenizer, or by the setting


def test_a_folder_of_today_keeps_its_files(tmp_path: Path) -> None:
    """Nothing is saved anew: each file has the bytes of the source, but for the maximum length."""
    folder = build(tmp_path, "bert")
    with without_rehearsal(has_graph=False):
        out = brought(folder, tmp_path / "base")
    for name in files_of(folder):
        assert (out / name).read_bytes() == (folder / name).read_bytes() or name == SETTINGS_FILES[0], name


@pytest.mark.parametrize("name", SETTINGS_FILES)
def test_settings_are_read_under_each_name_of_the_library(tmp_path: Path, name: str) -> None:
    """Maximum length and lower-casing count; of two files the library takes the first, and so does attune."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / SETTINGS_FILES[-1]).write_text('{"max_seq_length": 9, "do_lower_case": false}')
    (tmp_path / name).write_text('{"max_seq_length": 24, "do_lower_case": true}')
    settings = folder_settings("own", tmp_path)
    assert (settings.max_length, settings.do_lower_case) == (24, True)


def test_the_names_are_those_of_the_library() -> None:
    """A name that sentence-transformers adds shows here."""
    import inspect

    from sentence_transformers.sentence_transformer.modules import Transformer

    source = inspect.getsource(Transformer.load_config)
    places = [source.index(f'"{name}"') for name in SETTINGS_FILES]
    assert places == sorted(places) and source.count("_config.json") == len(SETTINGS_FILES)


def test_of_weights_in_two_formats_the_safetensors_count() -> None:
    """A .bin beside safetensors is not copied, one alone is; other formats and deeper folders never."""
    both = ["model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "a/b/config.json", "modules.json"]
    dense = [
        "2_Dense/config.json",
        "2_Dense/pytorch_model.bin",
        "3_Dense/model.safetensors",
        "3_Dense/pytorch_model.bin",
    ]
    assert needed([*both, *dense]) == sorted(["model.safetensors", "modules.json", *dense[:3]])
    assert needed(["pytorch_model.bin", "../config.json"]) == ["pytorch_model.bin"]


def test_what_cannot_be_tuned_is_refused_by_name(tmp_path: Path) -> None:
    """Stage base says what each folder is: other modules than a transformer, an adapter, code of its own."""
    said = refusals(tmp_path)
    assert said.keys() == REFUSED.keys()
    for kind, word in zip(said, ("auto_map", "an adapter", "StaticEmbedding", "images", "Word", "Router"), strict=True):
        assert word in said[kind], kind
    assert "makers/encoder" in said["an adapter (PEFT) without its base"]


def test_an_encoder_saved_anew_with_other_vectors_is_refused(tmp_path: Path) -> None:
    """A copy without its vocabulary's words, or that lower-cases no more, is no encoder that its source is."""
    folder = build(tmp_path, "roberta")
    shutil.copytree(folder, tmp_path / "copy")
    lower_case(folder)
    with pytest.raises(BadInput, match=r"^own: saved anew it gives other vectors \(difference .*and name that folder$"):
        save_anew("own", folder, tmp_path / "copy")


def test_a_folder_without_tokenizer_is_refused_before_loading(tmp_path: Path) -> None:
    """The library would read every word as unknown; the line names the folder and what is missing."""
    folder = build(tmp_path, "bert")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match=r"^own: no tokenizer in its folder, expected one of tokenizer.json, vocab"):
        brought(folder, tmp_path / "base")
    with pytest.raises(BadInput, match=": no tokenizer in its folder, expected one of tokenizer.json"):
        described(str(folder), "main", is_written=False)


def test_files_that_the_library_cannot_load_are_one_line(tmp_path: Path) -> None:
    """An older folder whose weights are damaged names the encoder and the next step; nothing is left."""
    folder = build(tmp_path, "bert")
    numbered(folder)
    (folder / "0_Transformer" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(
        BadInput, match=r"^own: sentence-transformers cannot load its files .*; fetch or save it again$"
    ):
        brought(folder, tmp_path / "base")
    assert not (tmp_path / "base").exists()
