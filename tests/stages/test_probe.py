"""Stage probe scores tracked tasks only, and writes each counted text once for stage drift."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML
from scipy.stats import spearmanr
from shipped_params import PANEL
from static_folders import write_static

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.encoding.scored import Way
from attune.errors import BadInput
from attune.evaluation.probe import LabelledData, RetrievalData, SimilarityData
from attune.export.adapter_folder import write_adapter_folder
from attune.export.query_map import QueryMap
from attune.export.static_folder import write_record
from attune.runtime import Embedder
from attune.runtime.arrays import Float32
from attune.runtime.static import StaticEncoder
from attune.stage import call, load_params
from attune.stages.probe import TRACKED, Encoded, ProbeParams, general_space, probe, read_tasks
from attune.tables import PROBE_ITEMS, read

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = load_params(ProbeParams, "probe", PANEL)
WORDS = "array bird boat graph house moon river snow stone tree wind world".split()


def params(**tasks: Any) -> ProbeParams:
    machine = {"threads": 1, "precision": "fp32", "batch_tokens": 4096}
    settings = DEFAULTS.model_dump() | {"machine": machine, "n_folds": 2, "n_repeats": 1, "n_runs": 2}
    return ProbeParams.model_validate(settings | {"tasks": tasks})


def task(kind: str, file: str, counts_as: str = "general") -> dict[str, Any]:
    return {"type": kind, "path": f"data/tasks/{file}", "counts_as": counts_as}


@pytest.fixture
def project(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with small tasks of all types, a folder without an adapter, and a static encoder that is off."""
    files = {
        "r": [{"query": f"the {w}", "passage": f"a {w} of {v}"} for w, v in pairwise(WORDS)],
        "s": [{"first": f"a {w}", "second": f"the {WORDS[i // 2]}", "score": i} for i, w in enumerate(WORDS)],
        "c": [{"text": f"the {w}", "label": "ab"[i % 2]} for i, w in enumerate(WORDS)],
    }
    (tmp_path / "data/tasks").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    for name, records in files.items():
        (tmp_path / f"data/tasks/{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    shutil.copytree(tiny_onnx, tmp_path / "adapter")
    write_record(tiny_onnx, {"is_off": True}, tmp_path / "static")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TASKS = {
    "find": task("retrieval", "r.jsonl"),
    "grade": task("similarity", "s.jsonl"),
    "sort": task("classification", "c.jsonl"),
    "group": task("clustering", "c.jsonl", counts_as="nothing"),
}


def run(chosen: ProbeParams, model: Path, out: str = "one") -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:  # encoders of these tests have no graph
        patch.setattr("attune.stages.probe.way_of", lambda *_: Way("torch", "cpu", chosen.machine.precision))
        places = {"model": model, "exported": model, "near_domain": Path("near"), "out": Path(out)}
        sides = {"adapter": Path("adapter"), "static": Path("static")}
        call(probe, chosen, Path(f"{out}.json"), system="base", **places, **sides)
    return dict(json.loads(Path(f"{out}.json").read_text()))


def near_domain(name: str) -> None:
    """Writes a near-domain task: three documents, and two queries for the first and one for the second."""
    folder = Path("near") / name
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": f"a {word}"} for i, word in enumerate(WORDS[:3])]
    queries = [{"_id": f"q{i}", "text": f"the {word}"} for i, word in enumerate(WORDS[:3])]
    for file, records in (("corpus", documents), ("queries", queries)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td0\t1\nq2\td1\t1\n")


def test_the_receipt_holds_each_tasks_measures_and_size(project: Path, tiny_encoder: Path) -> None:
    """Keys are <task>.<measure>, then n and counts_as, in the order of the tasks."""
    receipt = run(params(**TASKS), tiny_encoder)
    assert list(receipt) == [
        *("n_general_texts", "n_general_pairs"),
        *(f"find.{key}" for key in ("ndcg@10", "recall@10", "n", "counts_as")),
        *(f"grade.{key}" for key in ("spearman", "n", "counts_as")),
        *(f"sort.{key}" for key in ("knn_accuracy", "logistic_accuracy", "n", "counts_as")),
        *(f"group.{key}" for key in ("v_measure", "n", "counts_as")),
    ]
    assert [receipt[f"{name}.n"] for name in TASKS] == [11, 12, 12, 12]
    assert (receipt["sort.counts_as"], receipt["group.counts_as"]) == ("general", "nothing")
    assert 0 < receipt["find.ndcg@10"] <= receipt["find.recall@10"] <= 1


def test_drift_gets_each_counted_text_once_and_the_positive_pairs(project: Path, tiny_encoder: Path) -> None:
    """11 queries; of the pairs the 12 firsts, as the seconds are queries; of the labelled texts one; 11 passages."""
    receipt = run(params(**TASKS), tiny_encoder)
    vectors, pairs = np.load("one/general.npy"), np.load("one/positives.npy")
    texts = [f"the {w}" for w in WORDS[:11]] + [f"a {w}" for w in WORDS] + [f"the {WORDS[11]}"]
    texts += [f"a {w} of {v}" for w, v in pairwise(WORDS)]
    assert (len(vectors), len(pairs)) == (receipt["n_general_texts"], receipt["n_general_pairs"]) == (len(texts), 11)
    exact = TorchEncoder(load_torch(tiny_encoder), "fp32", 4096).encode_document(texts)
    np.testing.assert_allclose(vectors, exact, atol=1e-6)
    assert [(texts[q], texts[d]) for q, d in pairs] == [(f"the {w}", f"a {w} of {v}") for w, v in pairwise(WORDS)]


def test_each_counted_item_has_its_value(project: Path, tiny_encoder: Path) -> None:
    """A row per query, pair and text, in the data's order; grades of pairs only; the values give the measures."""
    receipt = run(params(**TASKS), tiny_encoder)
    items = read(Path("one/items.parquet"), PROBE_ITEMS)
    rows = {str(name): rows for (name,), rows in items.group_by("task", maintain_order=True)}
    assert {name: (rows[name]["measure"][0], len(rows[name])) for name in rows} == {
        "find": ("ndcg@10", 11),
        "grade": ("spearman", 12),
        "sort": ("knn_accuracy", 12),
    }
    assert rows["sort"]["item"].to_list() == rows["sort"]["cluster"].to_list() == [str(n) for n in range(1, 13)]
    assert rows["grade"]["grade"].to_list() == list(range(12)) and rows["find"]["grade"].is_null().all()
    for name in ("find.ndcg@10", "sort.knn_accuracy"):
        assert receipt[name] == pytest.approx(rows[name.partition(".")[0]]["value"].mean(), abs=1e-6)
    correlation = spearmanr(rows["grade"]["value"], rows["grade"]["grade"]).statistic
    assert receipt["grade.spearman"] == pytest.approx(correlation, abs=1e-6)


def first_places(queries: Float32, documents: Float32) -> list[float]:
    """Returns nDCG@10 where document i answers query i, computed by ranks."""
    cosines = queries.astype(np.float64) @ documents.astype(np.float64).T
    ranks = 1 + (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    return [float(1 / np.log2(1 + rank)) if rank <= 10 else 0.0 for rank in ranks]


def test_adapter_and_static_encoder_are_scored_on_retrieval_alone(
    project: Path, tiny_encoder: Path, tiny_onnx: Path
) -> None:
    """Their queries over the encoder's documents; no pair and no label passes them; what is off has no items."""
    plain = run(params(**TASKS), tiny_encoder, "off")
    assert [read(Path(f"off/{side}.parquet"), PROBE_ITEMS).height for side in ("adapter", "static")] == [0, 0]
    for name in ("adapter", "static"):
        shutil.rmtree(name)
    turn = np.roll(np.eye(32, dtype=np.float32), 1, axis=0)
    write_adapter_folder(tiny_onnx, QueryMap(matrix=turn), 18, {}, Path("adapter"))
    write_static(tiny_onnx, Path("static"))
    assert run(params(**TASKS), tiny_encoder) == plain
    embedder, queries = Embedder(tiny_onnx), [f"the {w}" for w in WORDS[:11]]
    documents = embedder.encode_document([f"a {w} of {v}" for w, v in pairwise(WORDS)])
    mapped = np.roll(embedder.encode_query(queries), -1, axis=1)
    for side, own in (("adapter", mapped), ("static", StaticEncoder("static").encode_query(queries))):
        items = read(Path(f"one/{side}.parquet"), PROBE_ITEMS)
        assert items["task"].unique().to_list() == ["find"]
        assert items["value"].to_list() == pytest.approx(first_places(own, documents), abs=1e-6)
    assert Path("one/items.parquet").read_bytes() == Path("off/items.parquet").read_bytes()


def test_each_folder_of_the_near_domain_is_a_task(project: Path, tiny_encoder: Path) -> None:
    """Its queries count as near_domain, in clusters by group, or else by answer; its texts are not general ones."""
    without = run(params(**TASKS), tiny_encoder)
    for name in ("as_typed", "as_indexed", "as_searched"):
        near_domain(name)
    Path("near/as_searched/groups.tsv").write_text("query-id\tgroup\nq0\tq0\nq1\tq1\nq2\tq1\n")
    receipt = run(params(**TASKS), tiny_encoder, "two")
    assert list(receipt)[len(without) :] == [
        f"near_{name}.{key}"
        for name in ("as_indexed", "as_searched", "as_typed")
        for key in ("ndcg@10", "recall@10", "n", "counts_as")
    ]
    assert {key: receipt[key] for key in without} == without
    assert (receipt["near_as_typed.n"], receipt["near_as_typed.counts_as"]) == (3, "near_domain")
    items = read(Path("two/items.parquet"), PROBE_ITEMS)
    for name, clusters in (("near_as_typed", ["q0", "q0", "q2"]), ("near_as_searched", ["q0", "q1", "q1"])):
        rows = items.filter(pl.col("task") == name).select("item", "cluster").rows()
        assert rows == list(zip(("q0", "q1", "q2"), clusters, strict=True))


def test_the_users_near_domain_task_gives_no_general_texts(project: Path, tiny_encoder: Path) -> None:
    """Only general tasks make the space on which drift is measured; both kinds have items."""
    near = task("retrieval", "r.jsonl", "near_domain")
    receipt = run(params(sort=TASKS["sort"], near=near), tiny_encoder)
    assert (receipt["n_general_texts"], receipt["n_general_pairs"]) == (12, 0)
    assert set(read(Path("one/items.parquet"), PROBE_ITEMS)["task"]) == {"sort", "near"}


def test_a_missing_folder_of_the_near_domain_is_one_line(project: Path, tiny_encoder: Path) -> None:
    """Instead of a run without its tasks."""
    Path("near").rmdir()
    with pytest.raises(BadInput, match=r"near: not found, expected a folder per near-domain task; run `dvc repro`"):
        run(params(**TASKS), tiny_encoder)


def test_the_same_encoder_gets_the_same_bytes_and_a_copy_of_it_too(project: Path, tiny_encoder: Path) -> None:
    """So a tuned encoder that is the base scores exactly as the base."""
    shutil.copytree(tiny_encoder, "copy")
    assert run(params(**TASKS), tiny_encoder) == run(params(**TASKS), Path("copy"), "two")
    for name in ("general.npy", "positives.npy", "items.parquet"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_queries_and_documents_have_their_prompts() -> None:
    """A text that is query and document is encoded as each; drift takes it once, as a query."""
    tasks = [
        RetrievalData(["a", "b"], ["b", "c"], np.array([[0, 0, 1], [1, 1, 2], [1, 0, 0]]), ["1", "2"]),
        SimilarityData(["a"], ["d"], np.array([1.0])),
        LabelledData(["d"], ["l"]),
    ]
    queries = Encoded(["a", "b", "a", "d"], lambda texts: np.array([[1, ord(t)] for t in texts], np.float32))
    documents = Encoded(["b", "c"], lambda texts: np.array([[2, ord(t)] for t in texts], np.float32))
    vectors, pairs = general_space(tasks, queries, documents)
    assert [(int(side), chr(int(text))) for side, text in vectors] == [(1, "a"), (1, "b"), (1, "d"), (2, "c")]
    assert pairs.tolist() == [[0, 1], [1, 3]]


def test_without_retrieval_there_are_no_documents_and_no_pairs(project: Path, tiny_encoder: Path) -> None:
    """Empty pairs have two columns, as stage drift expects."""
    receipt = run(params(sort=TASKS["sort"]), tiny_encoder)
    assert (receipt["n_general_texts"], receipt["n_general_pairs"]) == (12, 0)
    assert np.load("one/positives.npy").shape == (0, 2)


@pytest.mark.parametrize("path", ["elsewhere/r.jsonl", "data/tasks/../r.jsonl", "/data/tasks/r.jsonl", "data/general"])
def test_a_path_that_dvc_does_not_track_is_refused(project: Path, path: str) -> None:
    """An edit there would leave a stale score that looks fresh."""
    with pytest.raises(BadInput, match=r"probe\.tasks\.find\.path: got '.*', expected a path below data/tasks"):
        read_tasks(params(find=TASKS["find"] | {"path": path}), Path("near"))


def test_the_tracked_paths_are_those_of_dvc_yaml() -> None:
    """TRACKED equals the data dependencies of stage probe, but for the near-domain tasks, whose paths nobody sets."""
    deps = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["probe"]["do"]["deps"]
    data = tuple(dep for dep in deps if dep.startswith("data/"))
    assert tuple(dep for dep in data if not dep.startswith("data/near_domain")) == TRACKED


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "no task has counts_as: general"),
        ({"group": TASKS["group"]}, "no task has counts_as: general"),
        ({"find": TASKS["find"] | {"counts_as": "near_domain"}}, "no task has counts_as: general"),
        (
            TASKS | {"group": TASKS["group"] | {"counts_as": "general"}},
            r"tasks\.group: got counts_as: general, expected not",
        ),
        (TASKS | {"near_us": TASKS["find"]}, r"tasks\.near_us: near_\* are the tasks of data/near_domain; choose"),
        ({"find": TASKS["find"] | {"counts_as": "all"}}, "'general', 'near_domain' or 'nothing'"),
        ({"no.dots": TASKS["find"]}, "string should match pattern"),
        ({"find": TASKS["find"] | {"type": "ranking"}}, "'retrieval', 'similarity', 'classification' or 'clustering'"),
        ({"find": {"type": "retrieval", "path": "data/tasks/r.jsonl"}}, r"counts_as is missing"),
    ],
)
def test_tasks_that_cannot_be_are_refused(tmp_path: Path, tasks: dict[str, Any], message: str) -> None:
    """One line from params.yaml, before anything is encoded."""
    path, values = tmp_path / "params.yaml", DEFAULTS.model_dump()
    with path.open("w") as file:
        YAML().dump({"machine": values.pop("machine"), "probe": values | {"tasks": tasks}}, file)
    with pytest.raises(BadInput, match=message):
        load_params(ProbeParams, "probe", path)
