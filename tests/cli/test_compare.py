"""`attune compare` on tiny encoders: the figures of stage evaluate, prompts, a cheap second run, one-line refusals."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import tiny_encoders
from command_lines import run_here
from compared_project import IDS, PAIRS, SPLITS, write_project
from embeddings_server import embeddings_server
from miniature import change

from attune.cli.compare import sources
from attune.cli.compare.command import compare
from attune.cli.compare.encoders import with_family_prompts
from attune.cli.compare.table import Result
from attune.cli.main import main
from attune.data.text_hash import text_hash
from attune.data.trained_on import FILE, TrainedOn
from attune.encoding import launch
from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.runtime import Embedder
from attune.stage import call, load_params, sha256_of
from attune.stages import base as base_stage
from attune.stages.base import BaseParams
from attune.stages.embed import EmbedParams, embed
from attune.stages.evaluate import SCORES, EvaluateParams, evaluate
from attune.tables import RUN, read

RUN_FILE = "engine.trec"


@pytest.fixture(scope="module")
def project(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose base stages base, embed and evaluate have scored; tests run in its folder."""
    pins = {"config.json": sha256_of(tiny_encoder / "config.json")}
    root = write_project(tmp_path_factory.mktemp("compared"), tiny_encoder, pins, 32)
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        passed = SimpleNamespace(steps=(), precision="fp32", is_bf16_wrong=False)
        patch.setattr(base_stage, "rehearsed", lambda *_: passed)
        evaluated()
        write_run(Path("data/runs/base/run.parquet"))
        yield root


def evaluated() -> None:
    """Runs stages base, embed and evaluate, BM25 too."""
    prepared, splits, models = Path("data/prepared"), Path("data/splits"), Path("models")
    call(
        base_stage.base,
        load_params(BaseParams, "base"),
        None,
        **{"corpus": prepared / "corpus.parquet", "train": splits / "train", "parameters": Path("params.yaml")},
        **{"out": models / "base", "exported": models / "base_exported"},
    )
    tables = {"prepared": prepared, "splits": splits}
    vectors = Path("data/embeddings/base")
    encoder = {"system": "base", "model": models / "base", "exported": models / "base_exported"}
    launch.call(embed, load_params(EmbedParams, "embed"), None, **encoder, **tables, out=vectors)
    params = load_params(EvaluateParams, "evaluate").model_copy(update={"truncate_dims": []})
    for system in ("base", "bm25"):
        outs = {"out": Path("data/runs") / system, "groups": Path("groups.csv")}
        source = {"input": vectors, "beside": vectors}
        call(evaluate, params, None, system=system, **source, **tables, **outs)


def write_run(file: Path) -> None:
    """Writes a run of stage evaluate in TREC's format."""
    rows = read(file, RUN).select("query_id", "document_id", "rank", "score").iter_rows()
    lines = (f"{query} Q0 {document} {rank} {score} engine\n" for query, document, rank, score in rows)
    Path(RUN_FILE).write_text("".join(lines))


def expected(system: str, split: str) -> dict[str, list[float]]:
    """The scores of stage evaluate by measure, in the order of the queries."""
    table = read(Path("data/runs") / system / "scores.parquet", SCORES).filter(pl.col("split") == split)
    return table.sort("query_id").select(MEASURES).to_dict(as_series=False)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder whose folder has prompts for queries and for documents."""
    return tiny_encoders.build(tmp_path_factory.mktemp("prompted"), "bert", has_prompts=True, name="rival")


@pytest.fixture(scope="module")
def result(project: Path, prompted: Path) -> Result:
    """Base, BM25, an encoder and the base's own run as an engine's."""
    return compare(["bm25", str(prompted), RUN_FILE], None)


def test_figures_are_those_of_stage_evaluate(result: Result) -> None:
    """Base, BM25, and base's run read from a TREC file: every measure of every query, on dev; test for the best two."""
    for name, system in (("base", "base"), ("bm25", "bm25"), (RUN_FILE, "base")):
        of_stage = expected(system, "dev")
        for measure in MEASURES:
            assert result.dev[name][measure].tolist() == pytest.approx(of_stage[measure], abs=1e-9)
    alone = compare(["bm25"], None)
    assert list(alone.test) == alone.order and len(result.test) == 2
    for name in ("base", "bm25"):
        for measure in MEASURES:
            assert alone.test[name][measure].tolist() == pytest.approx(expected(name, "test")[measure], abs=1e-9)


def test_an_encoder_is_read_with_its_folders_prompts(result: Result, prompted: Path) -> None:
    """Reciprocal ranks equal those of sentence-transformers' encode_query and encode_document, cut at 32 tokens."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(prompted), device="cpu")
    model.max_seq_length = 32  # base.max_length
    documents = model.encode_document([f"{one} {other} of the data" for one, other in PAIRS])
    pairs = SPLITS["dev"]
    cosines = model.encode_query([f"Find {other} and {one}" for one, other in pairs]) @ documents.T
    own = cosines[np.arange(len(pairs)), [PAIRS.index(pair) for pair in pairs]]
    ranks = 1 + (cosines > own[:, None] + 1e-6).sum(axis=1)
    assert result.dev[str(prompted)]["mrr@10"] == pytest.approx(np.where(ranks <= 10, 1 / ranks, 0), abs=1e-6)
    about = result.facts[str(prompted)].about
    assert f"{prompted} reads 'search: ' before queries and 'text: ' before documents" in result.lines
    assert "base reads no prompts" in result.lines
    assert about["prompts"] == tiny_encoders.PROMPTS and (about["max_length"], about["dim"]) == (32, 16)


def test_the_record_holds_figures_costs_and_the_family(result: Result, prompted: Path) -> None:
    """4 bytes a number, seconds of real encoding, none for runs; three comparisons on dev and three on test."""
    record = asdict(result.answer)
    systems = {each["name"]: each for each in record["systems"]}
    assert [each["name"] for each in record["systems"]] == list(result.order)
    assert systems["base"]["bytes_per_1000_documents"] == 4 * 32 * 1000
    assert systems[str(prompted)]["bytes_per_1000_documents"] == 4 * 16 * 1000
    assert systems["base"]["seconds_per_1000_documents"] > 0
    assert systems[RUN_FILE]["seconds_per_1000_documents"] is systems["bm25"]["bytes_per_1000_documents"] is None
    pairs = [(row["split"], row["against"]) for row in record["comparisons"]]
    assert pairs == [("dev", "base")] * 3 + [("test", result.order[1])] * 3
    assert (record["n_queries"], record["n_clusters"]) == ({"dev": 20, "test": 20}, {"dev": 10, "test": 10})
    dev = expected("base", "dev")
    assert systems["base"]["dev"]["recall@100"] == pytest.approx(np.mean(dev["recall@100"]), abs=1e-6)
    assert [each["test"] is None for each in record["systems"]] == [False, False, True, True]
    assert record["room"]["found"] == systems["base"]["dev"]["recall@100"] == 1  # 91 documents
    assert record["sentences"] == result.lines and "tune." in result.lines[-1]


def test_a_second_run_encodes_nothing(project: Path, prompted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors are kept by the hash of their texts: the same figures and seconds; no graph runs or is exported."""
    first = compare([str(prompted)], None).answer
    monkeypatch.setattr(Embedder, "encode_tokens", None)
    monkeypatch.setattr("attune.cli.compare.encoders.write_graph", None)
    assert compare([str(prompted)], None).answer == first
    with pytest.raises(TypeError):  # another length is another encoder
        compare([str(prompted)], 8)


def test_exported_and_released_folders_run_as_they_are(project: Path, tmp_path: Path) -> None:
    """base_exported equals base; a released folder says what of test its training has seen, and that dev chose it."""
    released = Path(shutil.copytree("models/base_exported", tmp_path / "v1"))
    seen = frozenset(text_hash(f"Find {other} and {one}") for one, other in SPLITS["test"][:3])
    TrainedOn(seen, frozenset()).write(released / FILE)
    found = compare(["models/base_exported", "models/base", str(released)], None)
    for name in ("models/base_exported", "models/base", str(released)):
        assert found.dev[name]["map@100"].tolist() == pytest.approx(found.dev["base"]["map@100"].tolist(), abs=1e-9)
    assert f"{released}: was trained on 2 of test's 10 clusters" in "\n".join(found.lines)
    assert f"{released}: dev helped to make it, so its figures there are too good; those of test are not" in found.lines
    assert [row.system for row in found.comparisons if row.split == "dev"] == ["models/base_exported", "models/base"]


def test_an_endpoint_is_asked_with_the_limits_of_base_endpoint(project: Path, tmp_path: Path) -> None:
    """The same encoder behind /v1/embeddings has base's figures; its vectors are kept, and nothing is sent twice."""
    change(project, {"base": {"endpoint": load_params(BaseParams, "base").endpoint.model_dump() | {"cache": "cache"}}})
    with embeddings_server(Path("models/base_exported")) as api:
        name = f"{api.url}#tuned"
        found = compare([name], None)
        n_sent = len(api.texts)
        again = compare([name], None)
        assert len(api.texts) == n_sent + 2  # the known text, before dev and before test
    assert found.dev[name]["mrr@10"].tolist() == pytest.approx(found.dev["base"]["mrr@10"].tolist(), abs=1e-6)
    facts = again.facts[name]
    assert (facts.about["dim"], facts.about["endpoint"]) == (32, api.url) and facts.seconds and facts.bytes == 128_000


def test_a_name_on_the_hub_is_fetched_with_its_familys_prompts(
    project: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts are those that `attune base NAME --write` sets; the commit is recorded. Offline it is one line."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "snapshots" / commit))
    asked: list[tuple[str, str]] = []

    def download(model: str, revision: str, **_: object) -> str:
        asked.append((model, revision))
        return str(folder)

    monkeypatch.setattr(sources, "snapshot_download", download)
    weights = sources.from_hub("makers/e5-small@v2", load_params(BaseParams, "base"))
    assert asked == [("makers/e5-small", "v2")] and (weights.revision, weights.source) == (commit, folder)
    assert weights.params.prompts == {"query": "query: ", "document": "passage: "}
    own = with_family_prompts(load_params(BaseParams, "base"), "makers/e5-small", {"query": "ask: ", "document": "x"})
    assert own.prompts == {}
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"^makers/none: no folder here, and the hub .* cannot be reached"):
        compare(["makers/none"], None)


def test_the_command_prints_tables_and_answers(project: Path) -> None:
    """A table of dev with costs, one of test with the difference, notes, and the two answers."""
    Path("short.trec").write_text(f"dev00 Q0 {IDS[0]} 1 2.0 x\ndev00 Q0 nowhere 2 1.0 x\ntest00 Q0 {IDS[0]} 1 1 x\n")
    done = run_here(main, project, "compare", "bm25", "short.trec")
    assert done.returncode == 0, done.stderr
    for words in (
        *("dev, 20 queries, 91 documents", "MB / 1,000 documents", "test, 20 queries, the best two on dev"),
        "short.trec: 1 line(s) of documents that the corpus lacks; they keep their ranks",
        "short.trec: 19 of 20 dev queries have no line; they score 0",
        *("Would switching do? ", "Holm's correction over 5 comparisons.", "Room for tuning: base finds 100%"),
    ):
        assert words in done.stdout
    assert "short.trec: 1 dev queries have fewer" not in done.stdout  # the corpus has fewer than 100 documents


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["base"], "attune compare: got base alone, which is always compared; name another system, such as bm25"),
        (["bm25", "bm25"], "attune compare: bm25 stands twice; name each system once"),
        (["tuned"], "tuned/scores.parquet: not found; run `dvc repro evaluate@tuned`, or leave tuned out"),
        (["http://host/v1"], "http://host/v1: expected URL#MODEL, such as https://"),
        (["data"], "data: no config.json, expected a transformer's; name an encoder's repository or folder"),
    ],
)
def test_what_cannot_be_compared_is_one_line(project: Path, names: list[str], line: str) -> None:
    """Place and next step, before anything is encoded."""
    done = run_here(main, project, "compare", *names)
    assert done.returncode == 1 and line in done.stderr and done.stderr.count("\n") == 1


def test_stages_that_have_not_run_are_named(project: Path, tmp_path: Path) -> None:
    """One line names the file and the command; so does a split in which nothing can be tested."""
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(project / name, tmp_path / name)
    done = run_here(main, tmp_path, "compare", "bm25")
    assert done.stderr == (
        "attune: data/prepared/corpus.parquet: not found; attune compare needs stages collect, prepare and split: "
        "run `dvc repro split`\n"
    )
    assert run_here(main, project, "compare", "bm25", "--max-length", "4").stderr == (
        "attune: --max-length: got 4, expected 8 to 8192 tokens; give such a number\n"
    )
    shutil.copytree(project / "data", tmp_path / "data")
    for name in ("queries", "qrels"):
        file = tmp_path / f"data/splits/dev/{name}.parquet"
        pl.read_parquet(file).filter(pl.col("query_id").is_in(["dev00", "dev01"])).write_parquet(file)
    assert "data/splits/dev: 2 queries in 1 cluster(s), expected 2 clusters or more; raise split.dev_share" in (
        run_here(main, tmp_path, "compare", "bm25").stderr
    )
