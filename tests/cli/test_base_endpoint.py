"""`attune base URL`: what an endpoint says of its encoder over real HTTP, what is written, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Model, Reply, loopback
from embeddings_server import Counted, embeddings_server
from ruamel.yaml import YAML
from shipped_params import write_shipped
from typer.testing import CliRunner

from attune.cli.base.command import base
from attune.cli.main import app
from attune.encoding.served import KNOWN_TEXT
from attune.endpoints.requests import KEY
from attune.errors import BadInput
from attune.stage import all_params, load_params
from attune.stages.base import BaseParams
from attune.tuning.base_encoder import require_programs

__all__ = ["loopback"]
pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture
def api(tiny_onnx: Path) -> Iterator[Counted]:
    """The tiny encoder behind the demo's API, under three names."""
    with embeddings_server(tiny_onnx) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The shipped parameters, which train an encoder with weights; returns the path of params.yaml."""
    write_shipped(tmp_path)
    return tmp_path / "params.yaml"


def described(url: str, project: Path, name: str = "", is_written: bool = False) -> str:
    return "\n".join(base(url, "main", is_written, project, name).shown())


def refusal(url: str, project: Path, name: str = "") -> str:
    """Returns the one line with which the command ends."""
    with pytest.raises(BadInput) as caught:
        described(url, project, name)
    assert len(caught.value.args) == 1 and str(caught.value).isprintable()
    return str(caught.value)


def models(*names: str) -> Reply:
    """Returns a list of models, as the API has it."""
    data = [{"id": name, "object": "model"} for name in names]
    return 200, json.dumps({"object": "list", "data": data}).encode(), {}


def vector(*values: float) -> Reply:
    data = [{"object": "embedding", "index": 0, "embedding": values}]
    return 200, json.dumps({"object": "list", "data": data, "model": "x"}).encode(), {}


def test_an_endpoint_is_asked_for_a_vector_and_nothing_is_written(api: Counted, project: Path) -> None:
    """One sentence is sent; the printed parameters are YAML that names the endpoint, and the files stay."""
    before = project.read_text(), project.with_name("advanced.yaml").read_text()
    said = described(f"{api.url}/", project, "tuned")
    assert api.texts == [KNOWN_TEXT]
    for fact in (
        f"tuned, from the endpoint {api.url}\n",
        "dimensions      32\n",
        f"none: {KEY} is not set",
        "sha256: {}",
    ):
        assert fact in said
    assert said.endswith(f"`attune base {api.url}/ --name tuned --write` writes these")
    panel, advanced = said.partition("# params.yaml\n")[2].rpartition("\n\n")[0].split("\n\n# advanced.yaml\n")
    assert YAML(typ="safe").load(panel) == {"base": {"model": "tuned"}, "train": {"epochs": 0}}
    own = YAML(typ="safe").load(advanced)
    assert own["base"]["endpoint"] == {"url": api.url, "dimensions": 0} and own["programs"] == {"tuning": "served"}
    assert (project.read_text(), project.with_name("advanced.yaml").read_text()) == before


def test_what_is_written_is_what_stage_base_takes_and_all_else_stays(api: Counted, project: Path) -> None:
    """Comments, other keys and the rest of base.endpoint keep their bytes; programs and encoder fit together."""
    before = {name: project.with_name(name).read_text() for name in ("params.yaml", "advanced.yaml")}
    earlier = all_params(project)["base"]["endpoint"]
    said = described(api.url, project, "tuned", is_written=True)
    assert "section base is written, and train.epochs and programs.tuning, comments are as they were" in said
    params = load_params(BaseParams, "base", project)
    assert (params.model, params.revision, params.folder, params.sha256) == ("tuned", "", "", {})
    assert params.endpoint.model_dump() == earlier | {"url": api.url}
    require_programs(True, project)
    for name, text in before.items():
        after = project.with_name(name).read_text().splitlines()
        lost = [line for line in text.splitlines() if line not in after]
        assert [line for line in lost if line.lstrip().startswith("#")] == []
        assert len(lost) <= 9


def test_an_encoder_with_weights_takes_the_endpoint_out_again(api: Counted, tiny_encoder: Path, project: Path) -> None:
    """Else its name would be asked for at the endpoint; the number of epochs is the user's, and said."""
    described(api.url, project, "tuned", is_written=True)
    said = "\n".join(base(str(tiny_encoder), "main", is_written=True, file=project).shown())
    settings = all_params(project)
    assert (settings["base"]["endpoint"]["url"], settings["programs"]["tuning"]) == ("", "stages")
    assert "train.epochs is 0, as the endpoint needed: set it to auto" in said
    again = "\n".join(base(str(tiny_encoder), "main", is_written=True, file=project).shown())
    assert "train.epochs" not in again


def test_the_only_model_needs_no_name_and_its_family_has_prompts(project: Path) -> None:
    """Two requests; what the family puts before texts goes into base.prompts, as the API knows no prompts."""
    name = "intfloat/multilingual-e5-small"
    with Model(lambda number, _: vector(3.0, 4.0) if number else models(name)).serving() as server:
        said = described(server.url, project, is_written=True)
    assert [path for path, _, _ in server.requests] == ["/v1/models", "/v1/embeddings"]
    assert "dimensions      2\n" in said and "by the name's family" in said
    written = all_params(project)["base"]
    assert written["model"] == name and written["prompts"] == {"query": "query: ", "document": "passage: "}


def test_several_models_are_listed_for_a_choice(api: Counted, project: Path) -> None:
    """None is taken by chance, and nothing is sent."""
    line = refusal(api.url, project)
    assert line.endswith("lists 3 models, expected one; choose with --name: tuned, tuned-query, tuned-document")
    assert api.requests == []


def test_the_command_prints_what_the_function_says(
    api: Counted, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`attune base URL --name tuned --write` in a project's folder ends well and writes there."""
    monkeypatch.chdir(project.parent)
    done = CliRunner().invoke(app, ["base", api.url, "--name", "tuned", "--write"])
    assert done.exit_code == 0, done.output
    assert all_params(project)["base"]["endpoint"]["url"] == api.url


def status(code: int, body: bytes = b"no") -> Any:
    return lambda *_: (code, body, {})


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (status(404), "/models: 'HTTP 404 no'; correct the address (it ends in /v1 mostly) or --name"),
        (status(401), f"/models: 'HTTP 401 no'; set {KEY} in the environment"),
        (status(200, b"{}"), "no list of models, got {}'; name the model with --name"),
        (status(200, b"[" * 100_000), "no list of models, got"),
        (lambda *_: models(), "lists no model; name it with --name"),
        (lambda number, _: vector(0.0, 0.0) if number else models("a"), "expected embeddings; see the server's log"),
        (
            lambda number, _: (404, b"?", {}) if number else models("a"),
            "/embeddings: 'HTTP 404 ?'; correct the address",
        ),
    ],
)
def test_an_answer_that_helps_no_further_is_one_line(project: Path, reply: Any, said: str) -> None:
    """It names the address and what to do, and promises no kept answers."""
    with Model(reply).serving() as server:
        line = refusal(server.url, project)
    assert said in line and "answers so far" not in line


def test_addresses_and_options_that_cannot_be_are_one_line(project: Path, tiny_encoder: Path) -> None:
    """Nobody at the port, a user in the address, a revision of an endpoint, a name of what is no endpoint."""
    assert "start the server or correct the address" in refusal("http://127.0.0.1:9/v1", project, "a")
    assert "without user, query or fragment" in refusal("http://me:secret@host/v1", project)
    with pytest.raises(BadInput, match="--revision: got v1, but http://127.0.0.1:9 is an endpoint, which has none"):
        base("http://127.0.0.1:9", "v1", is_written=False)
    with pytest.raises(BadInput, match="--name: got a, but .* is no address of an endpoint"):
        base(str(tiny_encoder), "main", is_written=False, name="a")
