"""Static encoder on the demo's page: its files, hits for a vector, guards; in Chromium the page encodes the query."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from browser import browser, serious_violations
from conftest import build_tiny_encoder, export_tiny
from demo_project import DOCUMENTS, HOSTILE, finished_pipeline, served, with_static
from static_folders import HARD_TEXTS

from attune.cli.demo.static_queries import StaticQueries
from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.static import StaticEncoder
from attune.tables import full_text

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_onnx: Path, train_tables: dict[str, Path]) -> Path:
    """A finished pipeline whose released folder has a static encoder."""
    other = tmp_path_factory.mktemp("other")
    base = export_tiny(build_tiny_encoder(other / "torch", seed=1), other / "onnx", train_tables)
    return with_static(finished_pipeline(tmp_path_factory.mktemp("static") / "project", base, tiny_onnx))


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    with served(project) as address:
        yield address


@pytest.fixture(scope="module")
def desk() -> Iterator["Chrome"]:
    with browser(1280) as driver:
        yield driver


def posted(url: str, body: Any, kind: str = "application/json") -> requests.Response:
    """Posts a body to /vector."""
    content = body if isinstance(body, str) else json.dumps(body)
    return requests.post(f"{url}vector", content, headers={"Content-Type": kind}, timeout=300)


def cosines(project: Path, query: str) -> dict[str, float]:
    """Returns the cosine of each document of tuned's with the runtime's static vector of a query, best first."""
    documents = Embedder(project / "models/onnx").encode_document([full_text(*each) for each in DOCUMENTS.values()])
    values = documents @ StaticEncoder(project / "models/onnx/static").encode_query([query])[0]
    return dict(sorted(zip(DOCUMENTS, values.tolist(), strict=True), key=lambda pair: -pair[1]))


def test_hits_of_a_vector_are_tuneds_documents_by_their_cosine(url: str, project: Path) -> None:
    """In the order of numpy's cosines, escaped, with the judged answer marked and tuned's ranks beside."""
    vector = StaticEncoder(project / "models/onnx/static").encode_query(["stack rows"])[0]
    answer = posted(url, {"query": "stack rows", "vector": vector.tolist()})
    expected = cosines(project, "stack rows")
    assert answer.status_code == 200 and [f"cosine {value:.3f}" for value in expected.values()] == [
        part.partition("<")[0] for part in answer.text.split('class="score">')[1:]
    ]
    assert answer.text.count("judged an answer") == 1 and answer.text.count("<article") == len(DOCUMENTS)
    assert HOSTILE not in answer.text and "&lt;script&gt;document.title" in answer.text
    tuned = requests.get(f"{url}search", params={"q": "stack rows", "k": 7}, timeout=300).json()["systems"][1]["hits"]
    moved = [id_ for id_, hit in zip(expected, tuned, strict=True) if id_ != hit["document_id"]]
    assert answer.text.count("same rank") == len(DOCUMENTS) - len(moved) < len(DOCUMENTS)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "the body: "),
        ({"vector": [0.0] * 32}, "query: Field required"),
        ({"query": "x", "vector": [0.0] * 31}, "vector: 31 numbers, expected 32; encode the query again"),
        ({"query": "x", "vector": []}, "vector: "),
        ({"query": "x", "vector": [1e300] * 32}, "vector.0: "),
        ('{"query": "x", "vector": [NaN]}', "vector.0: "),
        ({"query": " ", "vector": [0.0] * 32}, "the query is empty"),
        ({"query": "x", "vector": [0.0] * 32, "k": 3}, "k: "),
    ],
)
def test_a_wrong_vector_is_one_line_of_json(url: str, body: Any, message: str) -> None:
    """Status 400 with what is wrong."""
    answer = posted(url, body)
    assert answer.status_code == 400 and answer.json()["error"].startswith(message)
    assert "\n" not in answer.json()["error"]


def test_another_sites_page_cannot_ask(url: str) -> None:
    """Text without a CORS preflight is refused, a large body, too; other names below /static/ are not there."""
    assert posted(url, {"query": "x", "vector": [0.0] * 32}, "text/plain").status_code == 415
    assert posted(url, " " * (4 * 1024 * 1024 + 1)).status_code == 413
    for name in ("static.json", "static.onnx", "..%2fmanifest.json"):
        assert requests.get(f"{url}static/{name}", timeout=300).status_code == 404


def test_the_policy_allows_this_servers_script_and_no_other(url: str) -> None:
    """Files of its own, requests to itself; inline script and other hosts stay forbidden."""
    policy = requests.get(url, timeout=300).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ") and "; script-src 'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert requests.get(f"{url}demo.js", timeout=300).headers["content-type"].startswith("text/javascript")


def test_a_folder_of_another_encoder_is_refused(project: Path) -> None:
    """The vectors would mean nothing in tuned's index; no folder is no script."""
    with pytest.raises(BadInput, match=r"static: made for encoder \w{12}, expected another; run `dvc repro`"):
        StaticQueries(project / "models/onnx/static", "another")
    assert StaticQueries.of(project / "nowhere") is None


def test_the_page_encodes_the_query_as_the_runtime_does(url: str, project: Path, desk: "Chrome") -> None:
    """The hits in the third column are those of the runtime's vector; vectors of hard texts agree within 1e-5."""
    from selenium.webdriver.support.wait import WebDriverWait

    for kind in ("performance", "browser"):
        desk.get_log(kind)
    desk.get(f"{url}?q=stack%20rows")
    shown = "section[aria-labelledby=static] article .score"
    WebDriverWait(desk, 300).until(lambda driver: driver.find_elements("css selector", shown))
    scores = [each.text for each in desk.find_elements("css selector", shown)]
    assert scores == [f"cosine {value:.3f}" for value in cosines(project, "stack rows").values()]
    assert desk.find_element("id", "on-page").text.startswith("encoded in 0.")
    program = """
      const [texts, done] = arguments;
      Promise.all([import("/static_encoder.js"), fetch("/static/tokenizer.json").then((answer) => answer.json()),
                   fetch("/static/model.safetensors").then((answer) => answer.arrayBuffer())])
        .then(([module, content, vectors]) => {
          const encoder = new module.StaticEncoder(content, vectors);
          done(texts.map((text) => Array.from(encoder.encode(text))));
        }).catch((error) => done(String(error)));
    """
    got = desk.execute_async_script(program, HARD_TEXTS)
    expected = StaticEncoder(project / "models/onnx/static").encode_query(HARD_TEXTS)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.linalg.norm(expected, axis=1).sum() > 10  # most texts have tokens here
    events = [json.loads(entry["message"])["message"] for entry in desk.get_log("performance")]
    requested = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert f"{url}vector" in requested and not [each for each in requested if not each.startswith((url, "data:"))]
    assert desk.get_log("browser") == []


def test_inline_script_stays_forbidden_and_documents_are_text(url: str, desk: "Chrome") -> None:
    """A hostile document in the third column makes no element; a script put into the page does not run."""
    from selenium.webdriver.support.wait import WebDriverWait

    desk.get(f"{url}?q=hostile")
    texts = "section[aria-labelledby=static] article pre"
    WebDriverWait(desk, 300).until(lambda driver: driver.find_elements("css selector", texts))
    assert HOSTILE in [each.get_property("textContent") for each in desk.find_elements("css selector", texts)]
    assert desk.title.startswith("hostile") and not desk.find_elements("css selector", "main img, main i, main script")
    put = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    desk.execute_script(put)
    assert desk.execute_script("return window.ran === undefined")
    assert serious_violations(desk) == []


def test_what_cannot_be_encoded_is_said_in_place(url: str, desk: "Chrome") -> None:
    """A query without a known token gets one sentence instead of hits."""
    from selenium.webdriver.support.wait import WebDriverWait

    desk.get(f"{url}?q=%E6%8E%92")
    loading = "loading token vectors"
    WebDriverWait(desk, 300).until(lambda driver: driver.find_element("id", "on-page").text not in ("", loading))
    assert desk.find_element("id", "on-page").text == "no token of this query has a vector"
