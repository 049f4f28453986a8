"""Demo served on loopback: page, JSON, OpenAI's API with its own client, and the guards."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from demo_project import DOCUMENTS, HOSTILE, ROOT, finished_pipeline, served
from shipped_params import PANEL
from typer.testing import CliRunner

from attune.cli import main as cli
from attune.cli.demo.app import MAX_BODY, listen
from attune.errors import BadInput
from attune.runtime import Embedder
from attune.tables import full_text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, other_onnx: Path) -> Path:
    """Base and shipped model have different random weights, so they rank differently."""
    return finished_pipeline(tmp_path_factory.mktemp("demo") / "project", other_onnx, tiny_onnx)


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    with served(project) as address:
        yield address


def test_search_answers_with_both_rankings(url: str, tiny_onnx: Path) -> None:
    """The tuned ranking is the runtime's: cosines to all documents, sorted; each side has the other's ranks."""
    answer = requests.get(f"{url}search", params={"q": " stack rows ", "k": 7}, timeout=300).json()
    assert (answer["query"], answer["depth"]) == ("stack rows", 100)
    base, tuned = answer["systems"]
    embedder = Embedder(tiny_onnx)
    documents = embedder.encode_document([full_text(*each) for each in DOCUMENTS.values()])
    cosines = dict(zip(DOCUMENTS, documents @ embedder.encode_query(["stack rows"])[0], strict=True))
    assert [hit["document_id"] for hit in tuned["hits"]] == sorted(cosines, key=lambda id_: -cosines[id_])
    assert [hit["score"] for hit in tuned["hits"]] == pytest.approx(sorted(cosines.values(), reverse=True), abs=1e-5)
    ranks = {hit["document_id"]: hit["rank"] for hit in base["hits"]}
    assert all(hit["base_rank"] == ranks[hit["document_id"]] for hit in tuned["hits"])
    assert ranks != {hit["document_id"]: hit["rank"] for hit in tuned["hits"]}, "the two encoders differ"
    assert [hit["document_id"] for hit in tuned["hits"] if hit["is_answer"]] == ["d0"]
    assert all(0 < side["encode_seconds"] < 30 and 0 < side["search_seconds"] < 30 for side in (base, tuned))


@pytest.mark.parametrize(
    ("params", "why"),
    [({}, "empty"), ({"q": " "}, "empty"), ({"q": "x" * 2001}, "2001 characters"), ({"q": "x", "k": "0"}, "k is '0'"),
     ({"q": "x", "k": "١"}, "expected a whole number"), ({"q": "x", "k": "1e9"}, "k is '1e9'"),
     ({"q": "x", "k": "0000000019"}, "k is"), ({"q": "x", "k": "9" * 5000}, "k is")],
)  # fmt: skip
def test_a_wrong_search_is_one_line_of_json(url: str, params: dict[str, str], why: str) -> None:
    """Status 400 with a reason, for a bad query or a bad k."""
    answer = requests.get(f"{url}search", params=params, timeout=300)
    assert answer.status_code == 400
    assert why in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_the_page_counts_changed_queries_and_links_them(url: str) -> None:
    """An example's link shows its scores and answers; a refused query is explained."""
    page = requests.get(url, timeout=300).text
    assert re.search(r"Of 3 test queries, tuning improved\s+<b>1</b>, made\s+<b>1</b> worse and left 1 unchanged", page)
    link = re.search(r'href="(/\?q=sort[^"]+)"', page)
    assert link
    shown = requests.get(url.rstrip("/") + link[1], timeout=300).text
    assert "<b>1.000</b> by base" in shown and "<b>0.250</b> by tuned" in shown
    assert shown.count("judged an answer") == 2 and "sort rows &amp; &lt;columns&gt;" in shown
    assert "A test query" not in requests.get(url, params={"q": "no test query"}, timeout=300).text
    wrong = requests.get(url, params={"q": "x" * 2001}, timeout=300)
    assert wrong.status_code == 400 and "expected at most 2000" in wrong.text


def test_documents_and_queries_are_text_not_markup(url: str) -> None:
    """A hostile document and a hostile query are escaped; the page has no script."""
    page = requests.get(url, params={"q": '</title><script>alert(1)</script>" autofocus onfocus="x'}, timeout=300).text
    assert "<script" not in page and "<img" not in page
    assert HOSTILE not in page and "&lt;script&gt;document.title" in page
    assert 'value="&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#34; autofocus' in page


def test_every_response_carries_the_guarding_headers(url: str) -> None:
    """Content-Security-Policy without scripts, nosniff, no server name, no CORS; errors have them, too."""
    for path in ("", "demo.css", "search?q=x", "v1/models", "nothing"):
        headers = requests.get(url + path, timeout=300).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert "script-src" not in headers["content-security-policy"], "so default-src forbids all script"
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "0.0.0.0", ""])
def test_a_foreign_host_name_is_refused(url: str, host: str) -> None:
    """DNS rebinding: another site's name that resolves to this machine."""
    for path in ("", "search?q=x", "v1/models"):
        assert requests.get(url + path, headers={"Host": host}, timeout=300).status_code == 400
    assert requests.get(url, headers={"Host": "localhost:1"}, timeout=300).status_code == 200


def test_a_body_is_bounded_and_must_be_json(url: str) -> None:
    """Another site's page can send text/plain without a CORS preflight, but not JSON."""
    body = json.dumps({"model": "tuned", "input": "sort"})
    endpoint = f"{url}v1/embeddings"
    plain = requests.post(endpoint, body, headers={"Content-Type": "text/plain"}, timeout=300)
    assert (plain.status_code, plain.json()["error"]["type"]) == (415, "invalid_request_error")
    as_json = {"Content-Type": "application/json; charset=utf-8"}
    assert requests.post(endpoint, body, headers=as_json, timeout=300).status_code == 200
    large = requests.post(endpoint, b" " * (MAX_BODY + 1) + body.encode(), headers=as_json, timeout=300)
    assert large.status_code == 413
    chunks = requests.post(endpoint, iter([b" " * 1_000_000] * 5), headers=as_json, timeout=300)
    assert chunks.status_code == 413
    assert requests.get(endpoint, timeout=300).json()["error"]["message"] == "Method Not Allowed"


def test_a_client_that_hangs_up_leaves_no_traceback(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of a body, of a chunk, and before the answer; the server goes on."""
    port = int(url.rpartition(":")[2].strip("/"))
    head = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    log = logging.getLogger("uvicorn.error")
    log.addHandler(caplog.handler)
    try:
        for rest in ("Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{", "no header\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall((head + rest).encode())
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /search?q=sort HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + 300
        while not caplog.records and time.monotonic() < deadline:
            assert requests.get(f"{url}search", params={"q": "sort"}, timeout=300).status_code == 200
        assert requests.get(f"{url}search", params={"q": "sort"}, timeout=300).status_code == 200
    finally:
        log.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"Invalid HTTP request received."}
    assert not any(record.exc_info for record in caplog.records)


def test_openais_own_client_gets_what_the_runtime_computes(url: str, tiny_onnx: Path) -> None:
    """As base64, its default, and as floats; errors arrive as its own exceptions."""
    openai = pytest.importorskip("openai")
    texts = ["stack arrays", "shortest path"]
    expected = Embedder(tiny_onnx).encode(texts)
    with openai.OpenAI(base_url=f"{url}v1", api_key="any", max_retries=0) as client:
        for options in ({}, {"encoding_format": "float"}):
            answer = client.embeddings.create(model="tuned", input=texts, **options)
            np.testing.assert_array_equal(np.array([each.embedding for each in answer.data], np.float32), expected)
            assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
        assert [model.id for model in client.models.list()] == ["tuned", "tuned-query", "tuned-document"]
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(model="other", input="x")
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError, match="not empty"):
            client.embeddings.create(model="tuned", input="")


def test_the_command_prints_its_address_and_stops_on_ctrl_c(project: Path) -> None:
    """Port 0 takes a free port on loopback only; after Ctrl-C the exit code is 0, without a traceback."""
    command = [sys.executable, "-c", "from attune.cli.main import main; main()", "demo", "--no-open", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=project, env=environment, text=True, **pipes) as process:
        assert process.stdout and process.stderr
        printed = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", printed)
        assert address, printed
        assert requests.get(address[0], timeout=300).status_code == 200
        other = socket.socket()
        assert other.connect_ex(("127.0.0.2", int(address[1]))), "bound to 127.0.0.1 and no other address"
        other.close()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=300)
        assert (process.returncode, out) == (0, "")
        assert error == "attune demo: loading the encoders and the corpus\nattune demo: stopped\n"


def test_before_the_pipeline_has_run_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has the command to run, and comes before a model is loaded."""
    for name in ("params.yaml", "advanced.yaml"):
        (tmp_path / name).write_bytes(PANEL.with_name(name).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "attune.encoding.encoders", None)
    for command in (["demo", "--no-open", "--port", "0"], ["search", "x"]):
        with pytest.raises(BadInput, match=r"^\S+: not found; run `dvc repro` to make it$"):
            CliRunner().invoke(cli.app, command, catch_exceptions=False)


def test_a_port_in_use_is_one_line() -> None:
    """The line names the option that changes it."""
    with listen(0) as taken, pytest.raises(BadInput, match="is in use; give another with --port"):
        listen(taken.getsockname()[1])
