"""Stage drift on embeddings on disk: zero for equal encoders, the true movement otherwise, misfits refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from prepared_tables import filled, write_corpus, write_split

from attune.errors import BadInput
from attune.evaluation.drift import alignment
from attune.evaluation.drift_verdict import DriftParams
from attune.evaluation.scoring.measures import measure
from attune.stage import call
from attune.stages.drift import drift
from attune.tables import CORPUS, OWN_TEXTS, PROBE_ITEMS, QRELS, read, write

N_DOCUMENTS, N_QUERIES, N_TEXTS, DIM = 150, 9, 120, 12
VALUES = {"max_cost": 0.05, "min_neighbour_overlap": 0.3, "min_same_cosine": 0.98, "min_stale_overlap": 0.9}
MACHINE = {"threads": 1, "precision": "fp32", "batch_tokens": 512}
PARAMS = DriftParams.model_validate(VALUES | {"n_sample": 120, "n_bridge": 60, "machine": MACHINE})
COUNTS_AS = {"find.counts_as": "general", "near_us.counts_as": "near_domain"}
PROBED = {"n_general_texts": N_TEXTS, "n_general_pairs": 2} | COUNTS_AS
VALUES_OF = {"find": np.linspace(0.6, 1, 200), "near_us": np.linspace(0.3, 0.9, 50)}  # by base, nDCG@10 of each query


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_items(case: Path, system: str, **factors: float) -> None:
    """Writes the values of all tasks: those of the base, but times a factor on every other query of a named task."""
    frames = []
    for task, values in VALUES_OF.items():
        ids = [f"{task}{row}" for row in range(len(values))]
        changed = values * np.tile([factors.get(task, 1.0), 1.0], len(values) // 2)
        columns = {"task": task, "measure": "ndcg@10", "item": ids, "cluster": ids, "value": changed}
        frames.append(pl.DataFrame(columns).with_columns(grade=pl.lit(None, pl.Float64)))
    write(pl.concat(frames), case / f"probe/{system}/items.parquet", PROBE_ITEMS)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Base and tuned as the same encoder, over a corpus, dev queries with an answer each, and general texts."""
    random = np.random.default_rng(0)
    ids = [f"d{i:03}" for i in range(N_DOCUMENTS)]
    write_corpus(filled({"document_id": ids}, CORPUS), tmp_path / "prepared")
    queries = [f"q{i}" for i in random.permutation(N_QUERIES)]
    answers = random.permutation(N_DOCUMENTS)[:N_QUERIES]
    judged = sorted((query, ids[answer], 1) for query, answer in zip(queries, answers, strict=True))
    write_split(tmp_path / "dev", {"query_id": queries}, judged)
    documents = unit(random.normal(size=(N_DOCUMENTS, DIM)))
    for folder in ("embeddings/base", "probe/base", "metrics"):
        (tmp_path / folder).mkdir(parents=True)
    np.save(tmp_path / "embeddings/base/corpus.npy", documents)
    np.save(tmp_path / "embeddings/base/dev.npy", unit(documents[answers] + 0.4 * random.normal(size=(N_QUERIES, DIM))))
    np.save(tmp_path / "probe/base/general.npy", unit(random.normal(size=(N_TEXTS, DIM))))
    np.save(tmp_path / "probe/base/positives.npy", np.array([[0, 20], [1, 21]]))
    (tmp_path / "metrics/base.json").write_text(json.dumps(PROBED))
    write_items(tmp_path, "base")
    for side in ("adapter", "static"):
        write(pl.DataFrame(schema=dict(PROBE_ITEMS)), tmp_path / f"probe/base/{side}.parquet", PROBE_ITEMS)
    for kind in ("embeddings", "probe"):
        shutil.copytree(tmp_path / kind / "base", tmp_path / kind / "tuned")
    return tmp_path


def run(case: Path) -> dict[str, Any]:
    inputs = {"prepared": "prepared", "dev_split": "dev", "embeddings": "embeddings", "probed": "probe"}
    paths = {name: case / folder for name, folder in inputs.items()}
    call(drift, PARAMS, case / "drift.json", **paths, metrics=case / "metrics", confidence=0.95, power=0.8)
    return dict(json.loads((case / "drift.json").read_text()))


def move(path: Path, noise: float) -> None:
    vectors = np.load(path)
    np.save(path, unit(vectors + noise * np.random.default_rng(1).normal(size=vectors.shape)))


def test_an_encoder_equal_to_the_base_did_not_move_and_cost_nothing(case: Path) -> None:
    """The exact invariant of train.epochs: 0."""
    receipt = run(case)
    for texts in ("domain", "general"):
        for name in ("cka", "neighbour_overlap@10", "stale_overlap@10", "same_cosine", "aligned_cosine"):
            assert receipt[f"{texts}.{name}"] == 1
        for name in ("anisotropy", "uniformity", "alignment"):
            assert receipt[f"{texts}.base_{name}"] == receipt[f"{texts}.tuned_{name}"]
    assert receipt["dev_ndcg@10"] == receipt["stale_dev_ndcg@10"] > 0
    assert (receipt["largest_cost"], receipt["largest_cost_of"]) == (0, "")
    assert (receipt["find.cost"], receipt["find.is_counted"], receipt["n_counted_tasks"]) == (0, True, 1)
    assert receipt["find.cost_high"] == pytest.approx(1 - 0.05 ** (1 / 200), abs=1e-6)
    assert receipt["find.detectable_cost"] == pytest.approx(1 - 0.025 ** (1 / 200), abs=1e-6)  # of two tested tasks
    assert (receipt["find.p_holm"], receipt["n_tested_tasks"], receipt["n_unmeasured_tasks"]) == (1, 2, 0)
    assert (receipt["is_drifted"], receipt["is_decided"], receipt["is_reindex_needed"]) == (False, True, False)
    assert "The space did not move. No re-index needed" in receipt["verdict"]


def test_what_embeds_queries_alone_has_losses_of_its_own(case: Path) -> None:
    """On retrieval those of its queries, elsewhere those of the documents' encoder; without retrieval none is told.

    Every fourth query of the general task finds half as much through the adapter. static_tuned was scored on that task
    alone, as well as base; near the domain it has tuned's loss.
    """
    items = read(case / "probe/base/items.parquet", PROBE_ITEMS).filter(pl.col("task") == "find")
    half = pl.col("value") * pl.when(pl.int_range(pl.len()) % 4 == 0).then(0.5).otherwise(1.0)
    write(items.with_columns(half), case / "probe/base/adapter.parquet", PROBE_ITEMS)
    write_items(case, "tuned", near_us=0.5, find=0.5)
    write(items, case / "probe/tuned/static.parquet", PROBE_ITEMS)
    receipt = run(case)
    values = VALUES_OF["find"]
    expected = values[::4].sum() / 2 / values.sum()
    assert receipt["adapter.largest_cost"] == pytest.approx(expected, abs=1e-6)
    assert receipt["adapter.largest_cost_of"] == "find.ndcg@10" and receipt["adapter.largest_near_cost"] == 0
    assert (receipt["static_tuned.largest_cost"], receipt["static_tuned.largest_cost_of"]) == (0, "")
    assert receipt["static_tuned.largest_near_cost"] == receipt["largest_near_cost"] > 0.1
    assert receipt["largest_cost"] > 0.1 and not [key for key in receipt if key.startswith("static_base")]
    assert "static_tuned.least_near_kept" not in receipt  # nothing beside tuned was scored there


def test_what_is_kept_of_the_documents_encoder_near_the_domain_is_told(case: Path) -> None:
    """Planted: the static encoder finds a quarter less than tuned on one near-domain task, which lost half itself."""
    write_items(case, "tuned", near_us=0.5)
    items = read(case / "probe/tuned/items.parquet", PROBE_ITEMS)
    less = pl.col("value") * pl.when(pl.col("task") == "near_us").then(0.75).otherwise(1.0)
    tasks = items.filter(pl.col("task").is_in(["find", "near_us"]))
    write(tasks.with_columns(less), case / "probe/tuned/static.parquet", PROBE_ITEMS)
    receipt = run(case)
    assert receipt["static_tuned.least_near_kept"] == pytest.approx(0.75, abs=1e-6)
    assert receipt["static_tuned.least_near_kept_of"] == "near_us.ndcg@10"
    assert not [key for key in receipt if key.startswith("adapter.least")]


def test_a_moved_domain_needs_a_new_index_and_is_no_drift(case: Path) -> None:
    """Tuning moves the domain; drift is judged by general texts, which stayed."""
    for name in ("corpus", "dev"):
        move(case / f"embeddings/tuned/{name}.npy", 0.5)
    receipt = run(case)
    assert (receipt["is_drifted"], receipt["is_reindex_needed"]) == (False, True)
    assert receipt["general.neighbour_overlap@10"] == 1 > receipt["domain.neighbour_overlap@10"]


def test_too_few_general_texts_leave_it_undecided(case: Path) -> None:
    """Planted: 120 general texts, half of them copies. Null and undecided, but where nothing moved at all."""
    random = np.random.default_rng(2)
    unrelated = [unit(random.normal(size=(N_TEXTS // 2, DIM))) for _ in range(2)]
    for system, texts in zip(("base", "tuned"), unrelated, strict=True):
        np.save(case / f"probe/{system}/general.npy", np.repeat(texts, 2, axis=0))
    receipt = run(case)
    assert receipt["n_general_texts"] == 60
    assert [receipt[f"general.{name}"] for name in ("cka", "neighbour_overlap@10", "stale_overlap@10")] == [None] * 3
    assert (receipt["is_drifted"], receipt["is_decided"]) == (False, False)
    assert "general texts are too few to compare neighbours (60, 100 needed)" in receipt["verdict"]
    shutil.copy(case / "probe/base/general.npy", case / "probe/tuned/general.npy")
    receipt = run(case)
    assert (receipt["general.cka"], receipt["is_drifted"], receipt["is_decided"]) == (None, False, True)


def test_unrelated_general_spaces_are_drift(case: Path) -> None:
    """Planted: 120 texts in two spaces that have nothing in common: 8% of neighbours shared, beyond chance none."""
    np.save(case / "probe/tuned/general.npy", unit(np.random.default_rng(2).normal(size=(N_TEXTS, DIM))))
    receipt = run(case)
    assert abs(receipt["general.neighbour_overlap@10"]) < 0.05 and abs(receipt["general.cka"]) < 0.05
    assert receipt["is_drifted"] and receipt["n_general_texts"] == N_TEXTS


def test_lost_general_neighbours_and_lost_scores_are_drift(case: Path) -> None:
    """Either is enough, and the receipt names the task with the largest loss."""
    move(case / "probe/tuned/general.npy", 2.0)
    assert run(case)["is_drifted"]
    shutil.copy(case / "probe/base/general.npy", case / "probe/tuned/general.npy")
    assert not run(case)["is_drifted"]
    write_items(case, "tuned", find=0.75)
    receipt = run(case)
    assert receipt["is_drifted"]
    assert (receipt["largest_cost"], receipt["largest_cost_of"]) == (pytest.approx(0.125, abs=1e-3), "find.ndcg@10")
    assert receipt["find.cost_low"] < receipt["find.cost"] == receipt["largest_cost"] < receipt["find.cost_high"]


def test_a_certain_loss_near_the_domain_is_drift(case: Path) -> None:
    """A twentieth of every other query there, which is less than max_cost of a general task allows; a gain is none."""
    write_items(case, "tuned", near_us=0.95)
    receipt = run(case)
    assert (receipt["near_domain.is_worse"], receipt["is_drifted"], receipt["largest_cost"]) == (True, True, 0)
    lost = receipt["near_us.cost"], "near_us.ndcg@10"
    assert (receipt["largest_near_cost"], receipt["largest_near_cost_of"]) == lost
    assert 0 < receipt["near_us.cost_low"] < receipt["near_us.cost"] < PARAMS.max_cost
    assert receipt["near_domain.largest_open_cost"] == receipt["near_us.cost_high"]
    write_items(case, "tuned", near_us=1.05)
    receipt = run(case)
    assert (receipt["near_domain.is_worse"], receipt["is_drifted"], receipt["largest_near_cost"]) == (False, False, 0)


def test_a_task_that_cannot_be_measured_is_counted_and_named(case: Path) -> None:
    """The base finds nothing next door: the receipt has the reason and no loss, and the verdict names the task."""
    for system in ("base", "tuned"):
        write_items(case, system)
        path = case / f"probe/{system}/items.parquet"
        zero = pl.when(pl.col("task") == "near_us").then(0.0).otherwise(pl.col("value"))
        write(pl.read_parquet(path).with_columns(value=zero), path, PROBE_ITEMS)
    receipt = run(case)
    assert (receipt["n_tested_tasks"], receipt["n_unmeasured_tasks"], receipt["n_near_domain_tasks"]) == (1, 1, 0)
    assert receipt["near_us.unmeasured"] == "the base scores 0 or less, so there is nothing to lose"
    assert "near_us.cost" not in receipt and receipt["verdict"].endswith(
        "Not measured: near_us.ndcg@10 (the base scores 0 or less, so there is nothing to lose)."
    )


def test_losses_are_corrected_for_all_tasks_that_are_tested(case: Path) -> None:
    """A loss next door with p = .03 alone is none of two; the corrected p-value is in the receipt."""
    items = pl.read_parquet(case / "probe/base/items.parquet")
    changes = pl.Series(np.tile([0.1, -0.1], items.height // 2) - 0.032)
    shift = pl.when(pl.col("task") == "near_us").then(changes).otherwise(0.0)
    write(items.with_columns(value=pl.col("value") + shift), case / "probe/tuned/items.parquet", PROBE_ITEMS)
    receipt = run(case)
    # of 50 queries: t = .032 / (.1 / 7) = 2.24
    assert receipt["near_us.cost_low"] > 0 and receipt["near_us.p_holm"] == pytest.approx(2 * 0.0297, abs=2e-4)
    assert (receipt["near_domain.is_worse"], receipt["is_drifted"]) == (False, False)
    assert (
        f"p = {receipt['near_us.p_holm']:.3f}, Holm-corrected for 2 tasks), which may be chance" in receipt["verdict"]
    )


def test_where_no_task_detects_the_limit_the_receipt_says_undecided(case: Path) -> None:
    """Values doubled or lost at random: the mean is near the base's, the interval wide."""
    random = np.random.default_rng(0)
    items = pl.read_parquet(case / "probe/tuned/items.parquet")
    noisy = items.with_columns(value=pl.col("value") * pl.Series(random.choice([0.0, 2.0], items.height)))
    write(noisy, case / "probe/tuned/items.parquet", PROBE_ITEMS)
    receipt = run(case)
    assert receipt["find.detectable_cost"] > PARAMS.max_cost
    assert (receipt["find.is_counted"], receipt["is_drifted"], receipt["is_decided"]) == (False, False, False)
    assert (receipt["n_counted_tasks"], receipt["largest_cost_of"]) == (0, "")
    assert receipt["verdict"].startswith("Undecided whether it drifted. ")


def test_values_of_other_items_are_refused(case: Path) -> None:
    """The line names the task that only one side has, or says that the items differ."""
    items = pl.read_parquet(case / "probe/base/items.parquet")
    write(items.filter(pl.col("task") == "find"), case / "probe/tuned/items.parquet", PROBE_ITEMS)
    with pytest.raises(BadInput, match=r"probed with different tasks \(near_us\); run `dvc repro`"):
        run(case)
    write(items.reverse(), case / "probe/tuned/items.parquet", PROBE_ITEMS)
    with pytest.raises(BadInput, match=r"probed with different tasks \(other items\)"):
        run(case)


def test_old_vectors_are_searched_with_new_queries(case: Path) -> None:
    """The stale score is that of tuned queries over base documents, by a full sort."""
    move(case / "embeddings/tuned/corpus.npy", 0.5)
    move(case / "embeddings/tuned/dev.npy", 0.7)
    receipt = run(case)
    new = np.load(case / "embeddings/tuned/dev.npy")
    queries = pl.read_parquet(case / "dev/queries.parquet")["query_id"].to_list()
    qrels = pl.read_parquet(case / "dev/qrels.parquet")
    judged = [(queries.index(q), int(d[1:]), r) for q, d, r in qrels.iter_rows()]
    for name, system in (("stale_dev_ndcg@10", "base"), ("dev_ndcg@10", "tuned")):
        ranked = np.argsort(-new @ np.load(case / f"embeddings/{system}/corpus.npy").T, axis=1)[:, :10]
        assert receipt[name] == pytest.approx(measure(ranked, np.array(judged))["ndcg@10"].mean(), abs=1e-6)
    rows = np.array(judged)
    documents = np.load(case / "embeddings/tuned/corpus.npy")
    assert receipt["domain.tuned_alignment"] == pytest.approx(
        alignment(new[rows[:, 0]], documents[rows[:, 1]]), abs=1e-6
    )


def test_a_document_with_the_querys_own_text_is_left_out(case: Path) -> None:
    """Where it is the nearest and nobody judged it, dev nDCG@10 without it is higher."""
    queries = pl.read_parquet(case / "dev/queries.parquet")["query_id"].to_list()
    judged = pl.read_parquet(case / "dev/qrels.parquet")["document_id"].to_list()
    own = [row for row in range(N_DOCUMENTS) if f"d{row:03}" not in judged][:N_QUERIES]
    for system in ("base", "tuned"):
        documents = np.load(case / f"embeddings/{system}/corpus.npy")
        documents[own] = np.load(case / f"embeddings/{system}/dev.npy")
        np.save(case / f"embeddings/{system}/corpus.npy", documents)
    before = run(case)["dev_ndcg@10"]
    pairs = pl.DataFrame({"query_id": queries, "document_id": [f"d{row:03}" for row in own]})
    write(pairs, case / "dev/own_texts.parquet", OWN_TEXTS)
    assert run(case)["dev_ndcg@10"] > before + 0.1


def test_without_general_retrieval_there_is_no_general_alignment(case: Path) -> None:
    """Alignment needs pairs of query and document; the domain always has them."""
    for system in ("base", "tuned"):
        np.save(case / f"probe/{system}/positives.npy", np.empty((0, 2), np.int64))
    (case / "metrics/base.json").write_text(json.dumps(PROBED | {"n_general_pairs": 0}))
    receipt = run(case)
    assert "general.base_alignment" not in receipt and "domain.base_alignment" in receipt


def test_embeddings_of_another_encoder_or_corpus_are_refused(case: Path) -> None:
    """The line names the file, its shape and the expected one."""
    path = case / "embeddings/tuned/corpus.npy"
    vectors = np.load(path)
    np.save(path, vectors[:, :6])
    with pytest.raises(BadInput, match=r"tuned/corpus\.npy: shape \(150, 6\), expected that of .*base/corpus\.npy"):
        run(case)
    np.save(path, vectors[1:])
    with pytest.raises(BadInput, match=r"tuned/corpus\.npy: shape \(149, 12\), expected 150 rows as in the corpus"):
        run(case)


def test_judgments_of_unknown_documents_are_refused(case: Path) -> None:
    """The line counts the judgments whose document is not in the corpus."""
    qrels = pl.read_parquet(case / "dev/qrels.parquet").with_columns(document_id=pl.lit("nowhere"))
    write(qrels, case / "dev/qrels.parquet", QRELS)
    with pytest.raises(BadInput, match=r"qrels.parquet: 9 rows with an unknown document_id"):
        run(case)
