"""Search and demo where the base is behind an endpoint: base beside its adapter, and one line where it is silent."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import requests
from chat_server import loopback
from demo_project import DOCUMENTS, served, served_pipeline
from embeddings_server import Counted, embeddings_server
from typer.testing import CliRunner

from attune.cli.demo.comparison import DemoParams, load_search
from attune.cli.demo.examples import read_query_changes
from attune.cli.demo.systems import endpoint_of, names
from attune.cli.main import app
from attune.errors import BadInput
from attune.runtime import Embedder
from attune.tables import full_text

__all__ = ["loopback"]
pytestmark = pytest.mark.usefixtures("loopback")
PARAMS = DemoParams(port=0, n_results=5, n_examples=3, depth=100)


@pytest.fixture
def api(tiny_onnx: Path) -> Iterator[Counted]:
    with embeddings_server(tiny_onnx) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, tiny_onnx: Path, api: Counted) -> Path:
    return served_pipeline(tmp_path / "project", tiny_onnx, api.url)


def test_base_stands_beside_its_adapter(project: Path, api: Counted, tiny_onnx: Path) -> None:
    """Both search the base's documents; the adapter's query is the base's with its numbers turned by one place."""
    assert names(project) == ("base", "adapter") and endpoint_of(project) == api.url
    base, adapter = load_search(project, PARAMS, {}).search("stack rows", 7).systems
    assert (base.system, base.runs_in, adapter.system, adapter.runs_in) == ("base", "endpoint", "adapter", "endpoint")
    embedder = Embedder(tiny_onnx)
    query = embedder.encode_query(["stack rows"])[0]
    documents = embedder.encode_document([full_text(*each) for each in DOCUMENTS.values()])
    for hits, vector in ((base.hits, query), (adapter.hits, np.roll(query, -1))):
        cosines = dict(zip(DOCUMENTS, documents @ vector, strict=True))
        assert [hit.document_id for hit in hits] == sorted(cosines, key=lambda id_: -cosines[id_])
        assert [hit.score for hit in hits] == pytest.approx(sorted(cosines.values(), reverse=True), abs=1e-5)
    assert api.texts.count("stack rows") == 1  # both systems take the vector that is kept


def test_the_command_shows_both(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`attune search` in the project's folder."""
    monkeypatch.chdir(project)
    done = CliRunner().invoke(app, ["search", "stack rows", "--k", "2"], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "base (endpoint: encoded in" in done.output and "adapter (endpoint: encoded in" in done.output


def test_the_page_speaks_of_the_adapter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test queries that it improved, and no model of its own behind /v1: one line says where to ask."""
    monkeypatch.chdir(project)
    assert [each.text for each in read_query_changes(project).improved] == ["stack rows"]
    with served(project) as url:
        page = requests.get(url, params={"q": "stack rows"}, timeout=300).text
        refused = requests.post(f"{url}v1/embeddings", json={"model": "tuned", "input": "a"}, timeout=300)
        assert requests.get(f"{url}v1/models", timeout=300).json() == {"object": "list", "data": []}
    assert "base and adapter, side by side" in page and "the adapter improved <b>1</b>" in page
    assert "<b>0.500</b> by base" in page and "<b>1.000</b> by adapter" in page and "by tuned" not in page
    assert refused.status_code == 501
    assert "ask there, and map its query vectors by models/adapter" in refused.json()["error"]["message"]


def test_an_endpoint_that_is_silent_is_one_line(tmp_path: Path, tiny_onnx: Path) -> None:
    """When the search is loaded, and in a demo that runs: status 502, the page as before."""
    with ExitStack() as stack:
        with embeddings_server(tiny_onnx) as api:
            project = served_pipeline(tmp_path / "project", tiny_onnx, api.url)
            parameters = project / "models/base/attune.json"
            parameters.write_text(parameters.read_text().replace('"retries": 5', '"retries": 0'))
            paired = load_search(project, PARAMS, {})
            url = stack.enter_context(served(project))
        answer = requests.get(f"{url}search", params={"q": "one more"}, timeout=300)
        page = requests.get(url, params={"q": "one more"}, timeout=300)
    assert (answer.status_code, page.status_code) == (502, 502)
    assert "start the server or correct base.endpoint" in answer.json()["error"]
    assert "start the server or correct base.endpoint" in page.text and "Test queries to try" in page.text
    with pytest.raises(BadInput, match="start the server or correct base.endpoint"):
        paired.search("another one", 3)
