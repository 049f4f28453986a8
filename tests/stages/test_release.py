"""The released folder is the scored one, with card and scores, and the same bytes wherever it is written."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shipped_params
from folder_bytes import contents
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from prepared_tables import filled, write_split
from ruamel.yaml import YAML
from shipped_params import PANEL
from static_folders import TEXTS, write_static

from attune.errors import BadInput
from attune.evaluation.report.card import SHAPING, SYSTEM_TITLES, card, params_sha256, shaping_params
from attune.evaluation.scoring.measures import MEASURES
from attune.export.static_folder import write_record
from attune.runtime import Embedder, verify
from attune.runtime.calibration import Calibration
from attune.runtime.static import StaticEncoder
from attune.stage import all_params, call, load_params
from attune.stages.release import RECEIPTS, ReleaseParams, release, release_manifest
from attune.tables import CORPUS, write

ROOT = Path(__file__).resolve().parents[2]
BASE = {"model": "a/b", "revision": "0" * 40, "licence": "Apache-2.0"}
SHIPPED = {"sentence": "Ship tuned int8.", "rule": "The best has the highest recall@10.", "times": "None measured."}
SHIPPED |= {"columns": ["choice", "recall@10", "new index"], "rows": {"tuned_int8": ["0.875", "yes"]}}
WHOLE = {"prepare": {"passages": {"tokens": 0, "overlap": 0}}}  # documents are read whole


@pytest.fixture(autouse=True)
def shipped_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory of the stage, which reads the parameters of all others there."""
    monkeypatch.chdir(shipped_params.SHIPPED)


@pytest.fixture(scope="module")
def params() -> ReleaseParams:
    return load_params(ReleaseParams, "release", PANEL)


@pytest.fixture(scope="module")
def metrics(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The receipts of a run, with the tiny encoder's export."""
    folder = Path(tmp_path_factory.mktemp("metrics"))
    receipts = json.loads(shipped_params.RECEIPTS.read_text())
    for name in RECEIPTS:
        (folder / f"{name}.json").write_text(json.dumps(receipts[name]))
    shutil.copy(tiny_onnx.with_name("export.json"), folder)
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | {"what_to_ship": SHIPPED}))
    return folder


@pytest.fixture
def exported(onnx_copy: Path) -> Path:
    """The exported tiny encoder, with a named base."""
    manifest = json.loads((onnx_copy / "manifest.json").read_text())
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest | {"base": BASE}))
    return onnx_copy


@pytest.fixture(scope="module")
def embeddings(metrics: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dimensions: all fp32 documents in one direction, every second int8 one at cosine .6 to it."""
    folder = Path(tmp_path_factory.mktemp("embeddings"))
    n = json.loads((metrics / "tuned.json").read_text())["n_documents"]
    fp32 = np.tile(np.float32([1, 0]), (n, 1))
    int8 = np.where(np.arange(n)[:, None] % 2 == 0, fp32, np.float32([0.6, 0.8]))
    for system, vectors in (("tuned", fp32), ("tuned_int8", int8)):
        (folder / system).mkdir()
        np.save(folder / system / "corpus.npy", vectors)
    return folder


@pytest.fixture(scope="module")
def static(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static query encoder over the tiny encoder's documents."""
    return write_static(tiny_onnx, tmp_path_factory.mktemp("static") / "tuned")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus and splits: a query and its document in each of train, dev and test."""
    folder = Path(tmp_path_factory.mktemp("texts"))
    documents = {"document_id": ["d0", "d1", "d2"], "title": [""] * 3, "text": ["body 0", "body 1", "body 2"]}
    write(filled(documents, CORPUS), folder / "prepared/corpus.parquet", CORPUS)
    for row, split in enumerate(("train", "dev", "test")):
        queries = {"query_id": [f"q{row}"], "text": [f"Query  {row}"]}
        write_split(folder / f"splits/{split}", queries, [(f"q{row}", f"d{row}", 1)])
    return {"prepared": folder / "prepared", "splits": folder / "splits"}


@pytest.fixture
def released(
    params: ReleaseParams,
    exported: Path,
    static: Path,
    embeddings: Path,
    metrics: Path,
    texts: dict[str, Path],
    tmp_path: Path,
) -> Path:
    out = tmp_path / "released" / "onnx"
    paths = {
        "exported": exported,
        "static": static,
        "calibration": embeddings,
        "embeddings": embeddings,
        "metrics": metrics,
    }
    call(release, params, out.with_name("release.json"), **paths, **texts, out=out)
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_release_is_the_export_with_a_card_and_verifies(exported: Path, released: Path) -> None:
    """All files are the export's but the manifest, which lists card, hashes and the static encoder's files too."""
    before, after = contents(exported), contents(released)
    assert {name for name in after if not name.startswith("static/")} == {*before, "README.md", "trained_on.json"}
    assert {name for name in before if before[name] != after[name]} == {"manifest.json"}
    assert {*read(released / "manifest.json")["files"], "manifest.json"} == set(after)
    verify(released)


def test_the_manifest_has_origin_parameters_and_scores(released: Path, metrics: Path) -> None:
    """Base, licence, parameters' hash, library versions, parity; the scores on test of all systems."""
    manifest = read(released / "manifest.json")
    assert (manifest["base"], manifest["licence"], manifest["dim"]) == (BASE, "Apache-2.0", 32)
    assert manifest["params_sha256"] == params_sha256(shaping_params(PANEL))
    assert {"torch", "onnxruntime"} < set(manifest["libraries"]) and manifest["parity"]["n_grid_batches"] > 60
    figures = manifest["metrics"]
    assert figures["n_queries"] == read(metrics / "tuned.json")["n_queries"]
    for system in SYSTEM_TITLES:
        receipt = read(metrics / f"{system}.json")
        assert figures["systems"][system] == {name: receipt[name] for name in MEASURES}


def test_the_release_names_by_hash_what_it_was_trained_on(released: Path) -> None:
    """Queries of train and dev, whatever their white space, and their documents; none of test."""
    hashes = read(released / "trained_on.json")
    digests = [sha256(text.encode()).hexdigest()[:16] for text in ("query 0", "query 1", "body 0", "body 1")]
    assert (hashes["queries"], hashes["documents"]) == (sorted(digests[:2]), sorted(digests[2:]))
    counts = {"n_queries": 2, "n_documents": 2}
    assert read(released / "manifest.json")["trained_on"] == {"file": "trained_on.json", **counts}


def test_a_model_hub_reads_the_card(released: Path, metrics: Path) -> None:
    """The hub's client finds base, licence, language and every fp32 figure; the header is plain YAML."""
    found = ModelCard((released / "README.md").read_text(encoding="utf-8"))
    assert (found.data.base_model, found.data.license, found.data.language) == ("a/b", "apache-2.0", ["en"])
    assert (found.data.library_name, found.data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    receipt = read(metrics / "tuned.json")
    assert {result.metric_name: result.metric_value for result in found.data.eval_results or []} == {
        name: receipt[name] for name in MEASURES
    }
    assert "!!" not in found.content.split("---")[1]


def test_the_card_has_scores_data_use_limits_and_licence(released: Path, metrics: Path) -> None:
    """All sections are there, with the scores of every system."""
    page = (released / "README.md").read_text(encoding="utf-8")
    parts = ("What to ship", "Evaluation", "Usage", "Training data", "Intended use", "Limits", "Licence")
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")] == list(parts)
    tokens = MarkdownIt().enable("table").parse(page.split("---", 2)[2])
    rows = [token.content for token in tokens if token.type == "inline"]
    for system, words in SYSTEM_TITLES.items():
        place = rows.index(words)
        receipt = read(metrics / f"{system}.json")
        assert rows[place + 2] == f"{receipt['recall@10']:.3f}", system
    assert "Apache-2.0, that of the base encoder." in page
    assert "Ship tuned int8." in page and "| tuned int8 | 0.875 | yes |" in page


def test_another_folder_and_another_run_give_the_same_bytes(
    exported: Path, static: Path, released: Path, embeddings: Path, metrics: Path, texts: dict[str, Path]
) -> None:
    """Another process and checkout, by command line: dvc.lock must not change."""
    checkout = exported.parent / "checkout"
    shutil.copytree(ROOT / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(PANEL.with_name(name), checkout)
    shutil.copytree(exported, checkout / "exported")
    shutil.copytree(static, checkout / "static")
    shutil.copytree(metrics, checkout / "metrics")
    shutil.copytree(embeddings, checkout / "embeddings")
    for name, folder in texts.items():
        shutil.copytree(folder, checkout / name)
    command = [sys.executable, "-m", "attune.stages.release", "--exported", "exported", "--embeddings", "embeddings"]
    command += ["--static", "static", "--calibration", "embeddings", "--metrics", "metrics"]
    command += ["--prepared", "prepared", "--splits", "splits", "--out", "onnx", "--receipt", "r.json"]
    environment = os.environ | {"PYTHONPATH": "src", "PYTHONHASHSEED": "7"}
    subprocess.run(command, cwd=checkout, env=environment, check=True)
    assert contents(checkout / "onnx") == contents(released)


def test_no_released_file_holds_a_path(exported: Path, released: Path) -> None:
    """Neither card nor manifest holds a path."""
    for name in ("README.md", "manifest.json"):
        for trace in (ROOT, sys.prefix, exported.parent, "site-packages"):
            assert str(trace) not in (released / name).read_text(encoding="utf-8")


def test_the_static_encoder_ships_without_the_documents_encoder_again(released: Path, static: Path) -> None:
    """Its files are those of stage static, its queries search what the released encoder embeds; the folder verifies."""
    verify(released)
    encoder = StaticEncoder(released / "static")
    assert encoder.fingerprint == Embedder(released).fingerprint
    assert encoder.encode_query(TEXTS).tobytes() == StaticEncoder(static).encode_query(TEXTS).tobytes()
    told = read(released / "manifest.json")["static"]
    assert told["dev_ndcg@10"] == 0.5 and {told["vectors"], told["graph"]} < set(
        read(released / "manifest.json")["files"]
    )
    names = {path.name for path in static.iterdir()}
    assert {path.name for path in (released / "static").iterdir()} == names - {"sentence_transformers"} < names


def test_scores_are_calibrated_by_the_manifest(
    params: ReleaseParams,
    exported: Path,
    static: Path,
    embeddings: Path,
    metrics: Path,
    texts: dict[str, Path],
    tmp_path: Path,
) -> None:
    """The map of stage calibrate, its error and what the cutoff promises, without the scores of dev's documents."""
    content = {"method": "isotonic", "scores": [0.2, 0.6], "probabilities": [0.0, 0.8], "cutoff": 0.5}
    content |= {"promise": {"precision": 0.8, "confidence": 0.95, "dev_coverage": 0.4}, "removed_answer_auroc": 0.66}
    content |= {"expected_calibration_error": {"value": 0.005, "low": 0.004, "high": 0.02, "confidence": 0.95}}
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration/tuned.json").write_text(json.dumps(content | {"n_relevant": 1, "relevant_scores": [0.5]}))
    paths = {"exported": exported, "static": static, "calibration": tmp_path / "calibration"}
    out = tmp_path / "onnx"
    call(release, params, tmp_path / "r.json", **paths, embeddings=embeddings, metrics=metrics, **texts, out=out)
    told = read(out / "manifest.json")["calibration"]
    assert told == content | {"unjudged": "counted as not relevant"}
    calibration = Calibration.load(out)
    assert calibration.probability(np.array([0.1, 0.4, 0.9])).tolist() == pytest.approx([0, 0.4, 0.8])
    assert calibration.cutoff == 0.5 and calibration.encoder == Embedder(out).fingerprint


def test_a_static_encoder_that_is_off_does_not_ship(
    params: ReleaseParams, exported: Path, embeddings: Path, metrics: Path, texts: dict[str, Path], tmp_path: Path
) -> None:
    """Neither a folder nor a word in the manifest."""
    write_record(exported, {"is_off": True}, tmp_path / "off")
    paths = {
        "exported": exported,
        "static": tmp_path / "off",
        "calibration": embeddings,
        "embeddings": embeddings,
        "metrics": metrics,
    }
    call(release, params, tmp_path / "r.json", **paths, **texts, out=tmp_path / "onnx")
    assert not (tmp_path / "onnx/static").exists() and "static" not in read(tmp_path / "onnx/manifest.json")


def test_an_export_that_is_not_the_scored_one_is_refused(
    params: ReleaseParams,
    exported: Path,
    static: Path,
    embeddings: Path,
    metrics: Path,
    texts: dict[str, Path],
    tmp_path: Path,
) -> None:
    """One more byte in a graph, and nothing is written."""
    with (exported / "onnx" / "model.onnx").open("ab") as file:
        file.write(b" ")
    with pytest.raises(BadInput, match=f"^{exported / 'onnx' / 'model.onnx'}: sha256 is "):
        paths = {
            "exported": exported,
            "static": static,
            "calibration": embeddings,
            "embeddings": embeddings,
            "metrics": metrics,
        }
        call(release, params, tmp_path / "r.json", **paths, **texts, out=tmp_path / "out" / "onnx")
    assert not (tmp_path / "out" / "onnx").exists() and not (tmp_path / "r.json").exists()


def test_a_model_without_a_licence_or_a_base_is_refused(params: ReleaseParams) -> None:
    """A model of unknown licence is unusable; release.licence takes precedence over the base's."""
    with pytest.raises(BadInput, match=r"names no licence; set release\.licence"):
        release_manifest(params, {"format": 1, "base": {"model": "a/b", "licence": ""}}, WHOLE)
    own = params.model_copy(update={"licence": "MIT"})
    assert release_manifest(own, {"format": 1, "base": BASE}, WHOLE)["licence"] == "MIT"
    with pytest.raises(BadInput, match="names no base encoder"):
        release_manifest(own, {"format": 1, "base": {}}, WHOLE)


def test_prompts_and_dense_layers_are_on_the_card(released: Path, metrics: Path) -> None:
    """A prompt with marks and a line break stays one cell; with a dense layer the card names the output to take."""
    about = read(released / "manifest.json") | {"prompts": {"query": "a|`b`\nc: "}, "n_dense": 1}
    receipts = {name: read(metrics / f"{name}.json") for name in RECEIPTS}
    own = {"name": "n", "languages": ["en"], "licence": "", "data": "", "intended_use": "", "limits": "Not for law."}
    page = card(about, shaping_params(PANEL) | {"release": own}, receipts)
    tokens = [token.content for token in MarkdownIt().enable("table").parse(page) if token.type == "inline"]
    assert tokens[tokens.index("prompt of query") + 1] == "`a|'b'↵c: `"
    assert "Use `sentence_embedding`" in page and "- Not for law." in page


def test_passages_are_in_the_manifest_and_on_the_card(
    params: ReleaseParams,
    exported: Path,
    static: Path,
    embeddings: Path,
    metrics: Path,
    texts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Size, overlap and how a document scores, where prepare.passages is on; the folder verifies. Off: neither."""
    assert "passages" not in release_manifest(params, read(exported / "manifest.json"), WHOLE)
    sections = shaping_params(PANEL)
    sections["prepare"] |= {"passages": {"tokens": 96, "overlap": 24}}
    monkeypatch.setattr("attune.stages.release.shaping_params", lambda _: sections)
    own = Path(shutil.copytree(metrics, tmp_path / "metrics"))
    tuned = read(own / "tuned.json")
    (own / "tuned.json").write_text(json.dumps(tuned | {"n_passages": tuned["n_documents"], "n_documents": 1234}))
    out = tmp_path / "onnx"
    paths = {
        "exported": exported,
        "static": static,
        "calibration": embeddings,
        "embeddings": embeddings,
        "metrics": own,
    }
    call(release, params, tmp_path / "r.json", **paths, **texts, out=out)
    verify(out)
    assert Embedder(out).encode_document(["a"]).shape == (1, 32)
    told = {"tokens": 96, "overlap": 24, "document_score": "best passage"}
    assert read(out / "manifest.json")["passages"] == told
    page = (out / "README.md").read_text(encoding="utf-8")
    tokens = [token.content for token in MarkdownIt().enable("table").parse(page) if token.type == "inline"]
    said = tokens[tokens.index("passages") + 1]
    assert "more than 96 tokens" in said and "up to 24 tokens" in said and "scores as its best passage" in said
    assert f"over 1,234 documents in {tuned['n_documents']:,} passages." in page


def test_the_card_lists_an_fp16_graph_where_there_is_one(released: Path, metrics: Path) -> None:
    """Its name, purpose and parity with torch."""
    about = read(released / "manifest.json")
    assert "fp16" not in (released / "README.md").read_text(encoding="utf-8")
    graphs, parity = about["graphs"] | {"fp16": "onnx/model_fp16.onnx"}, about["parity"] | {"fp16_min_cosine": 0.9987}
    receipts = {name: read(metrics / f"{name}.json") for name in RECEIPTS}
    own = {"name": "n", "languages": ["en"], "licence": "", "data": "", "intended_use": "", "limits": ""}
    sections = shaping_params(PANEL) | {"release": own}
    page = card(about | {"graphs": graphs, "parity": parity}, sections, receipts)
    assert "`onnx/model_fp16.onnx` (fp16, for GPUs" in page and "cosine of at least 0.9987 to torch" in page


def test_the_parameters_hash_covers_all_that_shapes_the_model(tmp_path: Path) -> None:
    """Another value changes it; another order of keys or a section that shapes nothing does not."""
    sections = all_params(PANEL)
    expected = params_sha256(shaping_params(PANEL))

    def hashed(changed: dict[str, Any]) -> str:
        (tmp_path / "params.yaml").write_text(json.dumps(changed))
        return params_sha256(shaping_params(tmp_path / "params.yaml"))

    assert hashed(dict(reversed(sections.items()))) == expected
    assert hashed(sections | {"gate": {}}) == expected
    for name in SHAPING:
        assert hashed(sections | {name: {**sections[name], "more": 1}}) != expected
    with pytest.raises(BadInput, match="section 'merge' is missing"):
        hashed({name: value for name, value in sections.items() if name != "merge"})


def test_dvc_tracks_the_parameters_of_the_hash() -> None:
    """Otherwise a manifest would keep the hash of former parameters."""
    body = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["release"]
    panel, advanced = (
        YAML(typ="safe").load(PANEL.with_name(name).read_text()) for name in ("params.yaml", "advanced.yaml")
    )
    tracked = body["params"][0]
    for file, sections in (("params.yaml", panel), ("advanced.yaml", advanced)):
        assert {*tracked[file]} == {*SHAPING, "release"} & {*sections}


def test_the_card_has_int8_s_cosine_semantic_leaks_and_general_text(released: Path, metrics: Path) -> None:
    """Half of the documents at cosine .6 give a mean of .8; the audit's counts; distillation."""
    receipt, manifest = read(released.with_name("release.json")), read(released / "manifest.json")
    mean = manifest["parity"]["int8_corpus_mean_cosine"]
    assert mean == receipt["int8_corpus_mean_cosine"] == pytest.approx(0.8, abs=1e-3)
    assert manifest["parity"]["int8_corpus_min_cosine"] == pytest.approx(0.6, abs=1e-6)
    page = (released / "README.md").read_text()
    assert str(read(metrics / "audit.json")["test_leaks.semantic_queries"]) in page
    assert "General text was part of training" in page and "depend a little" not in page
