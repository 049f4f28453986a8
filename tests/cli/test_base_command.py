"""`attune base`: what it says of an encoder on a hub or in a folder, what it writes, and what it refuses."""

import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import networkx
import pytest
from checkout import is_attunes_own
from dvc.repo import Repo
from loopback import serving
from ruamel.yaml import YAML
from shipped_params import PANEL
from typer.testing import CliRunner

from attune.cli.base.command import NOT_RUN
from attune.cli.base.command import base as described
from attune.cli.base.section import write_values
from attune.cli.main import app
from attune.encoding.families import (
    BERT_BASE,
    BERT_LARGE,
    FAMILIES,
    GEMMA_300M,
    MODERNBERT_BASE,
    QWEN3_600M,
    WITHOUT_CODE,
    Family,
    Shape,
    families_table,
    family_of,
    is_too_large,
)
from attune.encoding.settings import read_settings
from attune.errors import BadInput
from attune.stage import load_params, sha256_of
from attune.stages.base import BaseParams, copy_files

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "makers/multilingual-e5-small"


class Hub:
    """A hub with one model, from a folder; `status` and `code` are those of a refusal, by the start of a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card: dict[str, Any] | None = {"license": "mit"}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.downloads: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def sibling(self, path: Path) -> dict[str, Any]:
        about: dict[str, Any] = {"rfilename": path.relative_to(self.folder).as_posix(), "size": path.stat().st_size}
        if path.suffix == ".safetensors":
            about["lfs"] = {"size": about["size"], "sha256": sha256_of(path), "pointerSize": 134}
        return about

    def info(self) -> dict[str, Any]:
        """Returns what the hub's API says of the model."""
        siblings = [self.sibling(path) for path in sorted(self.folder.rglob("*")) if path.is_file()]
        counts = {"parameters": {"F32": 1_500_000}, "total": 1_500_000}
        return {"id": MODEL, "sha": COMMIT, "cardData": self.card, "siblings": siblings, "safetensors": counts}

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Returns status, body and headers for the path of a request."""
        for start, (status, code) in self.refusals.items():
            if path.startswith(start):
                return status, b"", {"X-Error-Code": code}
        if path == f"/api/models/{MODEL}/revision/main?blobs=true":
            return 200, json.dumps(self.info()).encode(), {}
        name = path.removeprefix(f"/{MODEL}/resolve/{COMMIT}/")
        if name != path and (self.folder / name).is_file():
            self.downloads.append(name)
            return 200, (self.folder / name).read_bytes(), {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"'}
        code = "RevisionNotFound" if path.startswith(f"/api/models/{MODEL}/") else "RepoNotFound"
        return 404, b"", {"X-Error-Code": code}

    def handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.reply(is_head=True)

            def do_GET(self) -> None:
                self.reply(is_head=False)

            def reply(self, is_head: bool) -> None:
                status, body, headers = hub.answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if not is_head:
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder that a test may change."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "tiny"))


@pytest.fixture
def hub(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The encoder on a hub on loopback, which HF_ENDPOINT names; without the user's token and proxy."""
    served = Hub(encoder)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving(served.server):
        yield served


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copies of this repository's parameters; returns the path of params.yaml."""
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copyfile(PANEL.with_name(name), tmp_path / name)
    return tmp_path / "params.yaml"


def base(*arguments: Any, **options: Any) -> list[str]:
    """Returns the lines that the command prints."""
    return list(described(*arguments, **options).shown())


def change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def refusal(model: str, revision: str = "main") -> str:
    """Returns the one line with which the command ends."""
    with pytest.raises(BadInput) as caught:
        base(model, revision, is_written=False)
    assert len(caught.value.args) == 1 and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_of_the_hub_is_described_without_its_weights(hub: Hub) -> None:
    """Commit, licence, sizes, length, pooling, prompts; the weights' sha256 comes from the hub, not from a download."""
    lines = base(MODEL, "main", is_written=False)
    said = "\n".join(lines)
    for fact in (
        *(f"{MODEL}, from the hub {hub.url}", f"revision        {COMMIT}", "licence         MIT"),
        *("1.5 million parameters", "BertModel, 32 dimensions", "maximum length  32 tokens by its settings"),
        *(
            "its 64 positions allow more",
            "pooling         mean",
            "prompts         none",
            "family          multilingual e5",
            "cost            about 0.1 times the default encoder's per token",
        ),
    ):
        assert fact in said
    assert "model.safetensors" not in hub.downloads and "config.json" in hub.downloads
    assert f"    model.safetensors: {sha256_of(hub.folder / 'model.safetensors')}" in lines


def test_the_command_prints_what_the_function_says(encoder: Path) -> None:
    """`attune base FOLDER` ends well; control characters in an encoder's card do not reach a terminal."""
    (encoder / "README.md").write_text('---\nlicense: "MIT\\e[31m"\n---\n')
    done = CliRunner().invoke(app, ["base", str(encoder)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == base(str(encoder), "main", is_written=False)
    assert "licence         MIT\\x1b[31m" in done.output and "\x1b" not in done.output


def test_a_revision_of_a_folder_is_refused(encoder: Path) -> None:
    """A folder has no revisions, and the option is not passed over in silence."""
    assert "is a folder here, which has none" in refusal(str(encoder), "v1")


def test_the_printed_section_pins_every_file_that_is_copied(hub: Hub) -> None:
    """The output is YAML with the sha256 of each file that stage base copies, and of no other."""
    (hub.folder / "onnx").mkdir()
    (hub.folder / "onnx" / "model.onnx").write_bytes(b"graph")
    (hub.folder / "README.md").write_text("card")
    lines = base(MODEL, "main", is_written=False)
    printed = "\n".join(lines[lines.index("# advanced.yaml") :][:-1])
    pins = YAML(typ="safe").load(printed)["base"]["sha256"]
    files = {path.relative_to(hub.folder).as_posix(): path for path in hub.folder.rglob("*") if path.is_file()}
    copied = {name: path for name, path in files.items() if name not in ("onnx/model.onnx", "README.md")}
    assert pins == {name: sha256_of(path) for name, path in copied.items()}


def test_write_leaves_all_else_as_it_was(hub: Hub, project: Path) -> None:
    """Values change, the stage's record takes them; comments, blank lines and other sections keep their bytes."""
    before = {name: (project.with_name(name)).read_text() for name in ("params.yaml", "advanced.yaml")}
    said = "\n".join(base(MODEL, "main", is_written=True, file=project))
    params = load_params(BaseParams, "base", project)
    assert (params.model, params.revision, params.licence, params.folder) == (MODEL, COMMIT, "MIT", "")
    assert params.sha256["model.safetensors"] == sha256_of(hub.folder / "model.safetensors")
    for name, text in before.items():
        after = project.with_name(name).read_text()
        lost = [line for line in text.splitlines() if line not in after.splitlines()]
        assert all(
            re.match(r"  (model|revision|licence|folder|prompts): |    [\w./]+: [0-9a-f]{64}$", line) for line in lost
        )
        assert after.partition("\ncollect:")[2] == text.partition("\ncollect:")[2]
        assert after.count("\n\n") == text.count("\n\n")
    assert f"all stages but {', '.join(NOT_RUN[:-1])} and {NOT_RUN[-1]}" in said
    assert sorted(path.name for path in project.parent.glob("*.partial")) == []


def test_write_keeps_comments_wherever_they_stand(tmp_path: Path) -> None:
    """Beside a value, above a key, after the last one; no pins and some; text that names no section is left alone."""
    head, tail = (
        "# a file\nmachine: {threads: 2}\n\nbase:\n",
        "\n  # above the next\n  other: 1\n\n# of train\ntrain:\n  x: 1",
    )
    old = f"{head}  # the name\n  model: a  # beside\n  sha256: {{}}  # none yet\n{tail}"
    (tmp_path / "params.yaml").write_text(old)
    write_values({"base.model": "b", "base.sha256": {"c/d.json": "0", "e": "1"}}, tmp_path / "params.yaml")
    pins = "  sha256:  # none yet\n    c/d.json: '0'\n    e: '1'\n"
    assert (tmp_path / "params.yaml").read_text() == f"{head}  # the name\n  model: b  # beside\n{pins}{tail}"
    write_values({"base.model": "a", "base.sha256": {}}, tmp_path / "params.yaml")
    assert (tmp_path / "params.yaml").read_text() == old


def test_write_refuses_a_section_in_one_line(tmp_path: Path) -> None:
    """Keys that share a line are left to the user, and the file stays as it was."""
    (tmp_path / "params.yaml").write_text("base: {model: a, licence: b}\n")
    with pytest.raises(BadInput, match="base is not one key a line; write model, licence by hand"):
        write_values({"base.model": "c", "base.licence": "d"}, tmp_path / "params.yaml")
    assert (tmp_path / "params.yaml").read_text() == "base: {model: a, licence: b}\n"


def test_write_refuses_a_missing_key_and_changes_nothing(hub: Hub, project: Path) -> None:
    """The line names the key; the model's name is not written without its commit."""
    advanced = project.with_name("advanced.yaml")
    advanced.write_text(advanced.read_text().replace("  licence: Apache-2.0\n", "", 1))
    before = project.read_text(), advanced.read_text()
    with pytest.raises(BadInput, match=r"params\.yaml or .*advanced\.yaml: base\.licence is missing; restore"):
        base(MODEL, "main", is_written=True, file=project)
    assert (project.read_text(), advanced.read_text()) == before


def test_write_refuses_a_length_beyond_the_positions(hub: Hub, project: Path) -> None:
    """The run would stop in stage base; the line comes before anything is written."""
    project.write_text(project.read_text().replace("max_length: auto", "max_length: 128", 1))
    with pytest.raises(BadInput, match=r"base\.max_length: got 128, but .* has 64 positions; set it to auto"):
        base(MODEL, "main", is_written=True, file=project)
    assert MODEL not in project.read_text()


def test_the_stages_that_run_are_those_after_the_encoder() -> None:
    """The stages that are said not to run are exactly those that do not depend on stage base, by DVC's own graph."""
    with Repo(str(ROOT)) as repo:
        graph = repo.index.graph
        names = {stage.addressing: stage for stage in graph}
        running = {stage.addressing for stage in networkx.ancestors(graph, names["base"])}
    assert set(names) - running - {"base"} == set(NOT_RUN)


def test_a_folder_is_described_and_pinned(encoder: Path, project: Path) -> None:
    """Parameters are counted in the weights, the licence comes from the card; stage base takes what is written."""
    (encoder / "README.md").write_text("---\nlicense: other\nlicense_name: house\n---\n# An encoder\n")
    said = "\n".join(base(str(encoder), "main", is_written=True, file=project))
    assert f"tiny, from the folder {encoder}" in said and "licence         house" in said
    assert re.search(r"[\d.]+ MB of weights, [\d.]+ million parameters", said)
    assert "note: its folder is a path of this machine" in said
    params = load_params(BaseParams, "base", project)
    assert (params.folder, params.revision) == (str(encoder), "")
    copy_files(Path(params.folder), project.parent / "copy", params.sha256)
    assert len(params.sha256) > 5


def test_an_absent_licence_is_said(encoder: Path) -> None:
    """Without a card's licence, the note says what to set; a card that cannot be read counts as none."""
    (encoder / "README.md").write_text("---\nlicense: [\n---\n")
    assert any(line.startswith("note: its licence is not known") for line in base(str(encoder), "main", False))


def test_prompts_that_the_family_asks_for_and_the_folder_lacks_are_written(hub: Hub, project: Path) -> None:
    """e5 without its prompts is named and base.prompts gets them; with both there is no note, and they are shown."""
    lines = base(MODEL, "main", is_written=True, file=project)
    notes = [line for line in lines if line.startswith("note: ")]
    assert len(notes) == 1 and "'query: ' before queries and 'passage: ' before documents" in notes[0]
    assert load_params(BaseParams, "base", project).prompts == {"query": "query: ", "document": "passage: "}
    own = {"query": "query: ", "passage": "passage: "}
    change(hub.folder / "config_sentence_transformers.json", prompts=own)
    lines = base(MODEL, "main", is_written=True, file=project)
    assert [line for line in lines if line.startswith("note: ")] == []
    assert "  prompts         query 'query: ', passage 'passage: '" in lines
    assert load_params(BaseParams, "base", project).prompts == {}  # the folder's own count


def test_prompts_of_several_lines_are_written_as_they_are(tmp_path: Path) -> None:
    """Qwen's instruction has a line break and may end in a blank: the parameter has both."""
    (tmp_path / "params.yaml").write_text("base:\n  prompts: {}\n")
    for family in FAMILIES:
        prompts = {"query": family.query, "document": family.document}
        write_values({"base.prompts": prompts}, tmp_path / "params.yaml")
        assert YAML(typ="safe").load((tmp_path / "params.yaml").read_text())["base"]["prompts"] == prompts


def test_prompts_of_no_known_name_are_said(encoder: Path) -> None:
    """Prompts that stage base would refuse are a note here; a name that it knows is none."""
    change(encoder / "config_sentence_transformers.json", prompts={"clustering": "c: "})
    assert "note: tiny: its folder has prompts named clustering, none known" in "\n".join(
        base(str(encoder), "main", False)
    )
    change(encoder / "config_sentence_transformers.json", prompts={"search_query": "q: ", "search_document": "d: "})
    assert not any("prompts named" in line for line in base(str(encoder), "main", False))


def test_a_large_encoder_is_told_its_cost_and_how_it_fits(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """536 million parameters, 256 of token vectors: 26 times the default's 10.6; unknown where the hub counts none."""
    change(hub.folder / "config.json", vocab_size=250002, hidden_size=1024)
    told = hub.info() | {"safetensors": {"parameters": {"F32": 536_000_000}, "total": 536_000_000}}
    monkeypatch.setattr(hub, "info", lambda: told)
    said = "\n".join(base(MODEL, "main", False))
    assert "cost            about 26 times the default encoder's per token, to train and to encode" in said
    assert "set train.lora_rank: 16, train.loss: cached_mnrl and train.mini_batch_size: 8" in said
    n_most = 536_870_911
    monkeypatch.setattr(hub, "info", lambda: told | {"safetensors": None})
    assert "cost            not known" in "\n".join(base(MODEL, "main", False))
    monkeypatch.setattr(
        hub, "info", lambda: told | {"safetensors": {"parameters": {"F32": n_most + 1}, "total": n_most + 1}}
    )
    with pytest.raises(BadInput, match=r"have 2,147,483,648 bytes in fp32, expected at most 2,147,483,647, .*; use "):
        base(MODEL, "main", False)


def test_pooling_unlike_the_family_is_said(hub: Hub) -> None:
    """The old form of the settings, one flag per mode, is read, too."""
    (hub.folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    said = "\n".join(base(MODEL, "main", False))
    assert "pooling         cls" in said and "note: its pooling is cls, but mean in its family" in said


def test_code_that_a_folder_brings_is_refused(hub: Hub, encoder: Path) -> None:
    """auto_map and foreign modules are refused in hub and folder, each with an encoder to use instead."""
    change(encoder / "config.json", auto_map={"AutoModel": "modeling.Own"})
    said = refusal(MODEL)
    assert "config.json has auto_map" in said and "trust_remote_code" in said and "gte-modernbert-base" in said
    named = encoder.rename(encoder.with_name("gte-base-en-v1.5"))
    assert "use Alibaba-NLP/gte-modernbert-base instead" in refusal(str(named))
    change(named / "config.json", auto_map=None)
    (named / "modules.json").write_text('[{"path": "", "type": "custom_st.Transformer"}]')
    assert "modules.json has custom_st.Transformer" in refusal(str(named))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", "not found on the hub http"),
        (403, "GatedRepo", "gated; accept its conditions at http"),
        (500, "", "answered 500; try again later"),
    ],
)
def test_refusals_of_the_hub_are_one_line(hub: Hub, status: int, code: str, said: str) -> None:
    """A model that is not there, one behind conditions, and a hub that fails."""
    hub.refusals["/api"] = status, code
    assert said in refusal(MODEL)


def test_a_gate_before_the_files_is_told(hub: Hub) -> None:
    """A gated model is described to everyone; the refusal comes with its first file."""
    hub.refusals[f"/{MODEL}/resolve"] = 403, "GatedRepo"
    assert "gated; accept its conditions at http" in refusal(MODEL)


def test_absent_names_revisions_and_networks_are_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name, another revision, no name at all, weights in no safetensors, and nobody at the address."""
    assert "not found on the hub" in refusal("makers/absent")
    assert "has no revision v9" in refusal(MODEL, "v9")
    assert "expected owner/name, or a folder" in refusal("no name//at all")
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    assert "no *.safetensors file at main" in refusal(MODEL)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal(MODEL)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids asking the hub" in refusal(MODEL)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json is not a JSON object"),
        ("modules.json", '[{"path": ""}]', "modules.json is not a list of objects with path and type"),
        ("config_sentence_transformers.json", '{"prompts": {"query": 1}}', "expected texts by name"),
        ("tokenizer_config.json", "[" * 100_000, "tokenizer_config.json is not JSON"),
        ("1_Pooling/config.json", '{"pooling_mode": 3}', "pooling_mode is 3, expected a name or names"),
        ("model.safetensors", "x", "not readable as safetensors"),
    ],
)
def test_damaged_files_are_one_line(encoder: Path, file: str, text: str, said: str) -> None:
    """Each file that is read is named when it cannot be."""
    (encoder / file).write_text(text)
    assert said in refusal(str(encoder))


def test_positions_of_roberta_and_its_kin_count_from_the_padding() -> None:
    """514 positions with padding id 1 hold 512 tokens; a tokenizer without a limit does not count as one."""
    config = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    texts = {"config.json": json.dumps(config), "tokenizer_config.json": '{"model_max_length": 1e30}'}
    settings = read_settings("x", texts)
    assert (settings.positions, settings.max_length, settings.pooling) == (512, 512, "")


def test_files_that_no_folder_of_a_model_has_are_not_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leaves the folder is passed over, whatever a hub lists."""
    told = hub.info()
    told["siblings"].append({"rfilename": "../config.json", "size": 2})
    monkeypatch.setattr(hub, "info", lambda: told)
    assert not any("../" in line for line in base(MODEL, "main", False))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_each_family_knows_its_own_model_card(family: Family) -> None:
    """The encoder whose card is the source is of this family; another is named where that cannot be used."""
    assert family_of(family.card) is family
    is_usable = family.shape is not None and not is_too_large(family.shape.n_parameters)
    assert is_usable != bool(family.instead)


# by the config.json of each, in the order of Shape
NAMED_INSTEAD = {
    "Alibaba-NLP/gte-modernbert-base": MODERNBERT_BASE,
    "nomic-ai/modernbert-embed-base": MODERNBERT_BASE,
    "intfloat/multilingual-e5-small": Shape(12, 384, 1536, 250037),
    "intfloat/multilingual-e5-base": Shape(12, 768, 3072, 250002),
    "Snowflake/snowflake-arctic-embed-m-v1.5": BERT_BASE,
}


def test_what_is_named_instead_can_be_used() -> None:
    """Each encoder that a line or the table recommends is of a known shape, and below the size of one ONNX file."""
    named = {family.instead for family in FAMILIES if family.instead} | set(re.split(", | or ", WITHOUT_CODE))
    assert named == NAMED_INSTEAD.keys()
    assert [name for name, shape in NAMED_INSTEAD.items() if 4 * shape.n_parameters > 2_147_483_647] == []


@pytest.mark.parametrize(
    ("shape", "config"),
    [
        (BERT_LARGE, {"model_type": "bert", "num_attention_heads": 16}),
        (
            GEMMA_300M,
            {"model_type": "gemma3_text", "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 256},
        ),
        (MODERNBERT_BASE, {"model_type": "modernbert", "num_attention_heads": 12}),
        (QWEN3_600M, {"model_type": "qwen3", "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}),
    ],
    ids=["bert", "gemma3", "modernbert", "qwen3"],
)
def test_the_cost_of_an_encoder_counts_its_matrices(shape: Shape, config: dict[str, Any]) -> None:
    """As many numbers as transformers has in the linear layers of this shape; all weights are hardly more."""
    import torch
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": shape.width, "num_hidden_layers": shape.layers, "intermediate_size": shape.inner}
    settings = AutoConfig.for_model(**config | sizes | {"vocab_size": shape.vocabulary})
    with torch.device("meta"):
        model = AutoModel.from_config(settings)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    layers = [module for name, module in linear.items() if "pooler" not in name]
    assert sum(module.weight.numel() for module in layers) == shape.n_multiplied
    assert sum(values.numel() for values in model.parameters()) == pytest.approx(shape.n_parameters, rel=0.01)


def test_unknown_encoders_have_no_family() -> None:
    """A name that only contains letters of a family's is none of its encoders."""
    assert family_of("makers/home5-base-line") is None
    assert family_of("intfloat/e5-small-v2") is not family_of("intfloat/multilingual-e5-small")


@pytest.mark.skipif(not is_attunes_own(), reason="a checkout without attune's pages")
def test_the_page_shows_the_families_as_the_code_knows_them() -> None:
    """The table in docs/encoders.md is that of the code."""
    assert families_table() in (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
