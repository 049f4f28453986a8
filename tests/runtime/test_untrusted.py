"""A model folder is input: what is malformed, or leads out of it, is refused in one printable line with its place."""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from attune.errors import BadInput
from attune.runtime import Embedder, verify

DEEP = "[" * 100_000 + "]" * 100_000


def changed(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    """Changes a JSON file of the folder, and its hash in the manifest."""
    content = json.loads((folder / name).read_text())
    change(content)
    put(folder, name, json.dumps(content).encode())


def put(folder: Path, name: str, content: bytes) -> None:
    """Writes a file of the folder, and its hash into the manifest."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    if name != "manifest.json":
        record = {"sha256": sha256(content).hexdigest(), "size": len(content)}
        changed(folder, "manifest.json", lambda manifest: manifest["files"].update({name: record}))


def refusal(act: Callable[[], object]) -> str:
    """Returns the message of an action that must be refused in one printable line."""
    with pytest.raises(BadInput) as error:
        act()
    text = str(error.value)
    assert text.isprintable() and len(error.value.args) == 1
    return text


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m.pop("dim"), "dim is missing"),
        (lambda m: m.update(dim="32"), "dim is a string, expected a whole number from 1 to 1048576"),
        (lambda m: m.update(dim=True), "dim is a boolean, expected a whole number"),
        (lambda m: m.update(dim=0), "dim is 0, expected"),
        (lambda m: m.update(dim=10**400), "dim is a number of more than 15 digits, expected"),
        (lambda m: m.update(dim=float("nan")), "dim is nan, expected"),
        (lambda m: m.update(max_length=1.5), "max_length is 1.5, expected a whole number"),
        (lambda m: m.update(prompts=["query"]), "prompts is a list of 1, expected an object"),
        (lambda m: m.update(prompts={"query": 1}), "prompts.query is 1, expected a string"),
        (lambda m: m.update(prompts={"query": "\ud800"}), "prompts.query holds half of a surrogate pair"),
        (lambda m: m.update(default_prompt_name="none"), "default_prompt_name is none of the prompts"),
        (lambda m: m.update(files=None), "files is null, expected an object"),
        (lambda m: m["files"].update({"config.json": "x"}), "files.config.json is a string, expected an object"),
        (lambda m: m["files"].update({"config.json": {}}), "files.config.json.sha256 is missing"),
        (lambda m: m["files"]["config.json"].update(sha256="x"), "sha256 is a string, expected 64 hex digits"),
        (lambda m: m["files"]["config.json"].update(size=-1), "size is -1, expected a whole number"),
    ],
)
def test_a_malformed_manifest_is_one_line(onnx_copy: Path, change: Callable[[Any], object], what: str) -> None:
    """The line names file, key, got and expected; embedding and verification refuse alike."""
    changed(onnx_copy, "manifest.json", change)
    for act in (lambda: Embedder(onnx_copy), lambda: verify(onnx_copy)):
        text = refusal(act)
        assert text.startswith(f"{onnx_copy}/manifest.json: ") and what in text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (DEEP, "nested too deeply"),
        ('{"files": ' + DEEP + "}", "nested too deeply"),
        ("[]", "the content is a list of 0, expected an object"),
        ("\ufeff{}", "BOM"),
        ('{"dim": 32, "dim": 384}', "the key 'dim' stands twice in one object; keep one of the two"),
        ("9" * 9999, "digits"),
        (" " * (64 * 2**20 + 1), "more than 67108864 bytes"),
    ],
    ids=["deep", "deep below", "list", "BOM", "twice", "digits", "size"],
)
def test_json_that_is_no_manifest_is_one_line(onnx_copy: Path, content: str, what: str) -> None:
    """Nesting ended in a RecursionError, and the last of two equal keys won."""
    put(onnx_copy, "manifest.json", content.encode())
    assert what in refusal(lambda: Embedder(onnx_copy))


def golden_of_other_size(golden: Any) -> None:
    golden["vectors"] = [row[:-1] for row in golden["vectors"]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (golden_of_other_size, "vectors, one per text, of 32 numbers, the manifest's dim"),
        (lambda g: g["vectors"].pop(), "vectors, one per text"),
        (lambda g: g["vectors"][1].append("x"), "vectors[1][32] is a string, expected a number"),
        (lambda g: g["vectors"][1].__setitem__(0, float("nan")), "vectors[1][0] is nan, expected a number"),
        (lambda g: g["vectors"][1].__setitem__(0, 1e300), "vectors[1][0] is 1e+300, expected a number"),
        (lambda g: g["texts"].__setitem__(2, None), "texts[2] is null, expected a string"),
        (lambda g: g.update(texts=[], vectors=[]), "texts is a list of 0, expected a list of 1 or more"),
        (lambda g: g.update(min_cosine={}), "min_cosine is an object of 0, expected an object with 1 or more"),
        (lambda g: g["min_cosine"].update({"onnx/model.onnx": "1"}), "min_cosine.onnx/model.onnx is a string"),
        (lambda g: g["min_cosine"].update({"onnx/other.onnx": 0.5}), "'onnx/other.onnx' is no graph (.onnx) of the"),
        (lambda g: g["min_cosine"].update({"../x.onnx": 0.5}), "'../x.onnx' is no graph (.onnx) of the manifest"),
        (lambda g: g["min_cosine"].update({"config.json": 0.5}), "'config.json' is no graph (.onnx) of the manifest"),
    ],
)
def test_malformed_golden_vectors_are_one_line(onnx_copy: Path, change: Callable[[Any], object], what: str) -> None:
    """Wrong types, sizes and numbers, and graphs that the manifest does not list."""
    changed(onnx_copy, "golden.json", change)
    text = refusal(lambda: verify(onnx_copy))
    assert text.startswith(f"{onnx_copy}/golden.json: ") and what in text


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "onnx/../../x", "..", ".", "", "a//b", "./a", "onnx/", "C:x", "..\\x", "a\0b"]
)
def test_names_of_the_manifest_stay_in_the_folder(onnx_copy: Path, name: str) -> None:
    """As written, before anything is opened: `../x` and `/etc/passwd` were hashed."""
    (onnx_copy.parent / "x").write_text("secret")
    record = {"sha256": "0" * 64, "size": 6}
    changed(onnx_copy, "manifest.json", lambda manifest: manifest["files"].update({name: record}))
    for act in (lambda: Embedder(onnx_copy), lambda: verify(onnx_copy)):
        assert f"the name {name!a} leads out of the folder" in refusal(act)
    with pytest.raises(BadInput, match="leads out of the folder"):
        Embedder(onnx_copy.parent / "onnx", file="../x")


@pytest.mark.parametrize("name", ["manifest.json", "golden.json", "tokenizer.json", "config.json", "onnx/model.onnx"])
@pytest.mark.parametrize("kind", ["link out", "link to a device", "link to itself", "FIFO", "folder", "missing"])
def test_only_regular_files_inside_the_folder_are_opened(onnx_copy: Path, name: str, kind: str) -> None:
    """A link out of the folder is not followed, a FIFO not waited for, a device not read to its end."""
    path = onnx_copy / name
    (onnx_copy.parent / "same").write_bytes(path.read_bytes())  # even if the bytes are the right ones
    path.unlink()
    makers: dict[str, Callable[[], Any]] = {
        "link out": lambda: path.symlink_to(onnx_copy.parent / "same"),
        "link to a device": lambda: path.symlink_to("/dev/zero"),
        "link to itself": lambda: path.symlink_to(path.name),
        "FIFO": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "missing": lambda: None,
    }
    makers[kind]()
    what = {"FIFO": "not a regular file", "folder": "not a regular file", "missing": "not found"}
    expected = what.get(kind, "not found" if kind == "link to itself" else "a link that leaves the folder")
    text = refusal(lambda: verify(onnx_copy))
    assert text.startswith(f"{path}: {expected}")


def test_links_that_stay_in_the_folder_are_followed(onnx_copy: Path) -> None:
    """The folder itself may be a link, too, as a service's `current` is."""
    (onnx_copy / "config.json").rename(onnx_copy / "settings.json")
    (onnx_copy / "config.json").symlink_to("settings.json")
    size = (onnx_copy / "settings.json").stat().st_size
    record = {"sha256": sha256((onnx_copy / "settings.json").read_bytes()).hexdigest(), "size": size}
    changed(onnx_copy, "manifest.json", lambda manifest: manifest["files"].update({"settings.json": record}))
    (onnx_copy.parent / "current").symlink_to(onnx_copy)
    verify(onnx_copy.parent / "current")


def test_a_link_that_no_manifest_lists_is_refused(onnx_copy: Path) -> None:
    """To a file and to a folder; another program may follow it."""
    for target in ("/etc/passwd", "/etc"):
        (onnx_copy / "more").symlink_to(target)
        assert "more: not in the manifest" in refusal(lambda: verify(onnx_copy))
        (onnx_copy / "more").unlink()


def graph(location: str, output: str = "sentence_embedding", dim: int = 32) -> bytes:
    """Returns a graph that adds weights from a file to nothing but zeros, (batch, dim)."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, dim], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * dim))):
        weights.external_data.add(key=key, value=value)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", dim])
    zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("Mul", ["input_ids", "zero"], ["zeros"]),
        helper.make_node("Cast", ["zeros"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "one"], ["column"], keepdims=1),
        helper.make_node("Add", ["column", "w"], [output]),
    ]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    made = helper.make_graph(nodes, "g", [ids], [out], initializer=[weights, zero, one])
    opset = helper.make_opsetid("", 17)
    content: bytes = helper.make_model(made, opset_imports=[opset], ir_version=8).SerializeToString()
    return content


@pytest.mark.parametrize("location", ["../../secret.bin", "ABSOLUTE", "link.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_of_a_graph_stay_in_its_folder(onnx_copy: Path, location: str) -> None:
    """onnxruntime reads weights from files that the graph names: not from outside, not from memory."""
    secret = onnx_copy.parent / "secret.bin"
    np.ones(32, np.float32).tofile(secret)
    (onnx_copy / "onnx" / "link.bin").symlink_to(secret)
    put(onnx_copy, "onnx/model.onnx", graph(str(secret) if location == "ABSOLUTE" else location))
    text = refusal(lambda: Embedder(onnx_copy))
    assert text.startswith(f"{onnx_copy}/onnx/model.onnx: not a loadable graph (")


def test_weights_beside_a_graph_are_read(onnx_copy: Path) -> None:
    """The test above refuses the place, not the kind: the same graph with its weights beside it computes them."""
    np.arange(32, dtype=np.float32).tofile(onnx_copy / "onnx" / "weights.bin")
    put(onnx_copy, "onnx/model.onnx", graph("weights.bin"))
    np.testing.assert_array_equal(Embedder(onnx_copy).encode(["a cat"])[0], np.arange(32))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (lambda: graph("weights.bin", output="other"), "outputs ['other']; expected inputs among"),
        (lambda: graph("weights.bin", dim=1), "computes (2, 1), expected (2, 32) by the manifest's dim"),
    ],
    ids=["output", "dim"],
)
def test_a_graph_that_does_not_fit_the_manifest_is_one_line(
    onnx_copy: Path, content: Callable[[], bytes], what: str
) -> None:
    """One number would have been broadcast to a whole vector."""
    np.ones(32, np.float32).tofile(onnx_copy / "onnx" / "weights.bin")
    put(onnx_copy, "onnx/model.onnx", content())
    assert what in refusal(lambda: Embedder(onnx_copy).encode(["a cat", "a dog"]))


def test_a_tokenizer_of_another_encoder_is_one_line(onnx_copy: Path) -> None:
    """Ids beyond the embedding table, and a tokenizer whose Rust code panics."""
    tokenizer = json.loads((onnx_copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {token: id_ + 100_000 for token, id_ in tokenizer["model"]["vocab"].items()}
    put(onnx_copy, "tokenizer.json", json.dumps(tokenizer).encode())
    assert "onnx/model.onnx: fails on the ids of tokenizer.json" in refusal(lambda: Embedder(onnx_copy).encode(["cat"]))


@pytest.mark.parametrize("text", [None, 1, b"bytes", ["a"]])
def test_a_text_that_is_no_string_is_named_by_its_place(tiny_onnx: Path, text: Any) -> None:
    """Also behind others, and with a prompt or without."""
    with pytest.raises(TypeError, match=f"^text 1 is {type(text).__name__}, expected a string"):
        Embedder(tiny_onnx).encode(["a cat", text])
