"""Example service: a version is used if it verifies, a switch drops no request, a refusal changes nothing."""

import json
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from loopback import serving
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.runtime import Embedder

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "service"))

import pull
import serve
from store import MAX_VERSIONS, Store

DOCUMENTS = [
    {"_id": "sort", "text": "sort the values of an array in descending order"},
    {"_id": "garden", "text": "water the flowers in the garden every morning <script>alert(1)</script>"},
    {"_id": "path", "text": "the shortest path between two connected nodes of a graph"},
]


def adopted(store: Store, model: Path, version: str) -> Path:
    """Adopts a version as pull.py does, with a copy in place of the download."""
    with store.arriving() as folder:
        return store.adopt(Path(shutil.copytree(model, folder / "model")), version)


def damage(folder: Path) -> None:
    content = bytearray((folder / "onnx" / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "onnx" / "model.onnx").write_bytes(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def store(tiny_onnx: Path, tmp_path: Path) -> Store:
    """A store with one version in use."""
    store = Store(tmp_path / "store")
    adopted(store, tiny_onnx, "v1")
    return store


@pytest.fixture
def server(store: Store) -> Iterator[serve.Server]:
    """A listening server that follows the store only when a test tells it to."""
    server = serve.Server(serve.Service(store, DOCUMENTS), port=0, poll_seconds=3600)
    with serving(server):
        yield server


def get(server: serve.Server, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}{path}", timeout=300) as answer:
        content: dict[str, Any] = json.load(answer)
    return content


def test_a_version_is_used_once_it_is_verified(store: Store, tiny_onnx: Path) -> None:
    """The link names it, and nothing of the pull is left."""
    place = adopted(store, tiny_onnx, "v2")
    assert store.current() == place == store.versions.resolve() / "v2"
    assert names(store.folder) == ["current", "lock", "versions"]


def test_a_damaged_version_leaves_the_store_unchanged(store: Store, onnx_copy: Path) -> None:
    """It is refused by its sha256, and the old version stays in use."""
    damage(onnx_copy)
    with pytest.raises(BadInput, match=r"model\.onnx: sha256 is"):
        adopted(store, onnx_copy, "v2")
    assert store.current() == store.versions.resolve() / "v1"
    assert names(store.versions) == ["v1"]
    assert names(store.folder) == ["current", "lock", "versions"]


def test_a_killed_pull_s_folder_is_removed_by_the_next_pull(store: Store, tiny_onnx: Path) -> None:
    """Half a download never stays on the disk."""
    (store.folder / "arriving-killed").mkdir()
    (store.folder / "arriving-killed" / "half").write_bytes(b"half")
    adopted(store, tiny_onnx, "v2")
    assert names(store.folder) == ["current", "lock", "versions"]


def test_a_version_damaged_on_disk_is_replaced_by_a_new_pull(store: Store, tiny_onnx: Path) -> None:
    """Pulling the same version again brings its bytes back."""
    damage(store.versions / "v1")
    assert adopted(store, tiny_onnx, "v1") == store.current()
    assert (store.versions / "v1/onnx/model.onnx").read_bytes() == (tiny_onnx / "onnx/model.onnx").read_bytes()


def test_only_the_version_before_is_kept_to_go_back_to(store: Store, tiny_onnx: Path) -> None:
    """By the order of use, not of arrival."""
    for version in ("v2", "v3", "v2", "v4"):
        adopted(store, tiny_onnx, version)
    assert names(store.versions) == ["v2", "v4"]
    assert MAX_VERSIONS == 2


def test_a_reader_always_finds_a_whole_version(store: Store, tiny_onnx: Path) -> None:
    """The link is replaced by one rename: there is no moment without it."""
    done = threading.Event()

    def read() -> int:
        n_reads = 0
        while not done.is_set():
            folder = store.current()
            assert folder is not None and folder.name in ("v1", "v2")
            n_reads += 1
        return n_reads

    adopted(store, tiny_onnx, "v2")
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for turn in range(300):
            store._use(store.versions / ("v1", "v2")[turn % 2])
        done.set()
        assert all(reader.result() > 0 for reader in readers)


def test_an_answer_is_the_embedder_s(server: serve.Server, tiny_onnx: Path) -> None:
    """The same documents with the same cosines, and the version."""
    query = "sort an array"
    answer = get(server, f"/search?q={quote(query)}&k=2")
    embedder = Embedder(tiny_onnx)
    scores = embedder.encode([row["text"] for row in DOCUMENTS]) @ embedder.encode([query])[0]
    best = np.argsort(-scores)[:2]
    assert [hit["_id"] for hit in answer["hits"]] == [DOCUMENTS[i]["_id"] for i in best]
    assert [hit["score"] for hit in answer["hits"]] == pytest.approx(scores[best].tolist(), abs=1e-5)
    assert answer["version"] == "v1"
    assert get(server, "/health") == {"version": "v1", "dim": 32, "refused": None}


def test_a_switch_drops_no_request(server: serve.Server, store: Store, tiny_onnx: Path) -> None:
    """Four clients search while the version changes ten times; each request is answered by one of the two versions."""
    adopted(store, tiny_onnx, "v2")
    done = threading.Event()

    def search() -> set[str]:
        versions = set()
        while not done.is_set():
            answer = get(server, "/search?q=garden")
            assert len(answer["hits"]) == len(DOCUMENTS)
            versions.add(answer["version"])
        return versions

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(search) for _ in range(4)]
        for turn in range(10):
            store._use(store.versions / ("v2", "v1")[turn % 2])
            server.service.follow()
        done.set()
        assert set().union(*(client.result() for client in clients)) == {"v1", "v2"}


def test_a_running_request_is_finished_by_the_version_that_began_it(
    server: serve.Server, store: Store, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is held while it embeds; meanwhile the version changes and the old folder is removed."""
    began, go_on = threading.Event(), threading.Event()
    encode = Embedder.encode_query

    def held(self: Embedder, texts: list[str]) -> NDArray[np.float32]:
        if texts == ["hold"]:
            began.set()
            assert go_on.wait(300)
        return encode(self, texts)

    monkeypatch.setattr(Embedder, "encode_query", held)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(get, server, "/search?q=hold")
        assert began.wait(300)
        for version in ("v2", "v3"):
            adopted(store, tiny_onnx, version)
        server.service.follow()
        assert not (store.versions / "v1").exists()
        assert get(server, "/search?q=garden")["version"] == "v3"
        go_on.set()
        assert running.result()["version"] == "v1"


def test_a_version_that_does_not_verify_is_named_and_not_used(
    server: serve.Server, store: Store, tiny_onnx: Path
) -> None:
    """The disk may fail between pull and switch; the next good version clears the error."""
    damage(adopted(store, tiny_onnx, "v2"))
    server.service.follow()
    health = get(server, "/health")
    assert health["version"] == get(server, "/search?q=garden")["version"] == "v1"
    assert "model.onnx: sha256 is" in health["refused"]
    adopted(store, tiny_onnx, "v3")
    server.service.follow()
    assert get(server, "/health") == {"version": "v3", "dim": 32, "refused": None}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/search", 400),
        ("/search?q=%20", 400),
        ("/search?q=x&k=0", 400),
        ("/search?q=x&k=101", 400),
        ("/search?q=x&k=-1", 400),
        ("/search?q=x&k=many", 400),
        (f"/search?q=x&k={'9' * 5000}", 400),
        ("/", 404),
        ("/../store/lock", 404),
    ],
)
def test_a_bad_request_gets_the_expected_form(server: serve.Server, path: str, status: int) -> None:
    """400 names the parameters, 404 the paths."""
    with pytest.raises(urllib.error.HTTPError) as error:
        get(server, path)
    assert error.value.code == status
    assert (
        "/search" in json.load(error.value)["error"] if status == 404 else "k=1..100" in json.load(error.value)["error"]
    )


def test_markup_in_a_document_is_data(server: serve.Server) -> None:
    """The content type is JSON, so no browser renders it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}/search?q=garden") as answer:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_service_without_a_model_names_the_next_step(tmp_path: Path) -> None:
    """pull.py comes first."""
    with pytest.raises(BadInput, match="no model in it; run pull.py first"):
        serve.Service(Store(tmp_path / "store"), DOCUMENTS)


@pytest.mark.parametrize("content", ["", "no json\n", '{"_id": "1"}\n', "[]\n"])
def test_malformed_documents_are_named(tmp_path: Path, content: str) -> None:
    """Empty, not JSON, without a text, not an object: the line begins with the file."""
    (tmp_path / "documents.jsonl").write_text(content)
    with pytest.raises(BadInput, match=r"documents\.jsonl: "):
        serve.read_documents(tmp_path / "documents.jsonl")


def test_the_md5_of_a_folder_is_that_of_dvc(tiny_onnx: Path, onnx_copy: Path) -> None:
    """The oracle is DVC's own code, with subfolders and names that are not ASCII."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    (onnx_copy / "naïve – ü.txt").write_text("x")
    (onnx_copy / "onnx.txt").write_text("sorted between onnx/ and onnx/model.onnx by some")
    for folder in (tiny_onnx, onnx_copy):
        disk = LocalFileSystem()
        _, _, tree = build(HashFileDB(disk, str(onnx_copy.parent / "cache")), str(folder), disk, "md5")
        assert pull.directory_md5(folder) == tree.hash_info.value


def test_the_artifact_names_files_that_the_export_writes(tiny_onnx: Path) -> None:
    """`artifacts:` of dvc.yaml is shown in registries; no other test would notice a renamed file."""
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load((Path(__file__).resolve().parents[2] / "dvc.yaml").read_text())
    artifact = content["artifacts"]["embedder-onnx"]
    assert any(artifact["path"] in stage.get("outs", ()) for stage in content["stages"].values())
    assert all((tiny_onnx / name).is_file() for name in artifact["meta"]["files"].values())
