"""Stage train: limits of steps and pairs, judgments that decide on batches, and batches that cannot be filled."""

from pathlib import Path
from typing import NoReturn

import polars as pl
import pytest
from training import add_answers, params, task, trained

from attune.tables import OWN_TEXTS, QRELS, TRIPLETS, read, write
from attune.tuning.training.conflicts import Batch, Judgments
from attune.tuning.training.rows import batching_keys
from attune.tuning.training.runs import SeedRuns


@pytest.fixture
def inputs(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    return task(tmp_path, tiny_encoder)


def test_a_run_ends_at_max_steps_with_evaluations_laid_over_them(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Of 27 steps, 12: three evaluations at 4, 8, 12; without epochs the base stays as it is."""
    _, receipt = trained(tmp_path, inputs, params(max_steps=12), "short")
    assert receipt["n_steps"] == 12
    points = pl.read_csv(tmp_path / "short.csv").filter(pl.col("dev_ndcg@10").is_not_null())
    assert points["step"].to_list() == [0, 4, 8, 12]
    _, base = trained(tmp_path, inputs, params(epochs=0, max_steps=12), "base")
    assert base["n_steps"] == 0


def test_the_schedule_is_laid_over_max_steps(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """The nine steps of one epoch are the first nine of three: the same rates, batches and bytes."""
    one, _ = trained(tmp_path, inputs, params(epochs=1), "one")
    assert trained(tmp_path, inputs, params(epochs=3, max_steps=9), "three")[0] == one


def test_pairs_per_query_bound_an_epoch(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """72 queries with four answers each: two of them per query and epoch are half of the rows and half of the steps."""
    add_answers(inputs, 3)
    for n_pairs, n_rows in ((0, 288), (2, 144)):
        _, receipt = trained(tmp_path, inputs, params(epochs=1, max_pairs_per_query=n_pairs), f"pairs-{n_pairs}")
        assert (receipt["n_rows"], receipt["n_rows_per_epoch"], receipt["n_steps"]) == (288, n_rows, n_rows // 8)


def test_negatives_come_from_the_batch_where_other_rows_hold_them(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """By auto where half of them are documents of other rows, here two thirds; a setting of one's own stands."""
    file = inputs["mined"] / "triplets.parquet"
    triplets = read(file, TRIPLETS)
    positives = set(triplets["document_id"])
    held = sum(own[0] in positives for own in triplets["negative_ids"].to_list()) / len(triplets)
    assert held == pytest.approx(2 / 3, abs=0.02)
    found = {}
    for name, kind in (("auto", "batch"), ("batch", "batch"), ("rows", "rows")):
        found[name], receipt = trained(tmp_path, inputs, params(epochs=1, hard_negatives=name), name)
        assert receipt["hard_negatives"] == kind
        assert (receipt["n_negatives"], receipt["n_steps"]) == (int(kind == "rows"), 9)
    assert found["auto"] == found["batch"] != found["rows"]
    nowhere = pl.Series("negative_ids", [["x1"]] * len(triplets), TRIPLETS["negative_ids"])
    write(triplets.with_columns(nowhere), file, TRIPLETS)
    _, receipt = trained(tmp_path, inputs, params(epochs=1, hard_negatives="auto"), "nowhere")
    assert receipt["hard_negatives"] == "rows"
    _, receipt = trained(tmp_path, inputs, params(epochs=1, hard_negatives="auto", loss="triplet"), "triplet")
    assert receipt["hard_negatives"] == "rows"


def test_batches_that_cannot_be_filled_are_counted_and_warned_of(
    tmp_path: Path, inputs: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Queries that read the same, 36 each: a batch of eight holds two; one line says so, with what to do."""
    triplets = read(inputs["mined"] / "triplets.parquet", TRIPLETS)
    trained(tmp_path, inputs, params(epochs=1), "full")
    assert "batches hold" not in capfd.readouterr().err
    halves = pl.Series("near_group", ["a" if row % 2 else "b" for row in range(len(triplets))])
    write(triplets.with_columns(halves), inputs["mined"] / "triplets.parquet", TRIPLETS)
    _, receipt = trained(tmp_path, inputs, params(epochs=1), "unfilled")
    assert receipt["n_unfilled_batches"] == receipt["n_steps"] == 9
    assert receipt["mean_batch_fill"] <= 2 / 8
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "batches hold" in line]
    assert "of 8 rows" in line and "train.batch_size" in line


def test_the_warning_of_unfilled_batches_comes_before_any_run(
    tmp_path: Path, inputs: dict[str, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads it can stop before probes of learning rates have taken their time."""
    triplets = read(inputs["mined"] / "triplets.parquet", TRIPLETS)
    write(triplets.with_columns(near_group=pl.lit("a")), inputs["mined"] / "triplets.parquet", TRIPLETS)

    def probes(_: SeedRuns) -> NoReturn:
        raise RuntimeError("the probes")

    monkeypatch.setattr(SeedRuns, "probes", probes)
    with pytest.raises(RuntimeError, match="the probes"):
        trained(tmp_path, inputs, params(learning_rate="auto"), "out")
    assert "batches hold 1.0 of 8 rows" in capfd.readouterr().err


def test_rows_turned_round_share_no_batch_where_own_texts_are_left_out() -> None:
    """Document *a* of the second row is the first row's query itself, and vice versa; without the table they may."""
    rows = [("qa", "a", "qa", "b", 1, ["x"]), ("qb", "b", "qb", "a", 1, ["x"])]
    triplets = pl.DataFrame(rows, schema=dict(TRIPLETS), orient="row")
    qrels = triplets.select(list(QRELS))
    own = pl.DataFrame([("qa", "a"), ("qb", "b")], schema=dict(OWN_TEXTS), orient="row")
    for own_texts, is_added in ((own, False), (own.clear(), True)):
        batch = Batch(Judgments(batching_keys(triplets, qrels, own_texts, [1, 1], 0)))
        assert batch.add(0) and batch.add(1) is is_added


def test_batching_keys_by_hand() -> None:
    """Judgments count for queries that read the same; of queries without rows, and of relevance 0, none counts.

    A document with a query's own text counts like an answer of it.
    """
    rows = [
        ("q1", "one", "q1", "a", 2, ["x"]),
        ("q1", "one", "q1", "b", 1, ["y"]),
        ("q2", "One", "q1", "c", 1, ["x"]),
        ("q3", "two", "q3", "d", 1, ["a"]),
    ]
    judged = [
        ("q1", "a", 2),
        ("q1", "b", 1),
        ("q1", "y", 0),
        ("q2", "c", 1),
        ("q3", "d", 1),
        ("q3", "e", 1),
        ("q9", "x", 1),
    ]
    triplets = pl.DataFrame(rows, schema=dict(TRIPLETS), orient="row")
    qrels = pl.DataFrame(judged, schema=dict(QRELS), orient="row")
    own_texts = pl.DataFrame([("q2", "z"), ("q9", "y")], schema=dict(OWN_TEXTS), orient="row")
    keys = batching_keys(triplets, qrels, own_texts, [3, 4, 5, 6], 7)
    assert keys.queries == [0, 0, 1, 2] and keys.near_groups == [0, 0, 0, 1]
    assert (keys.relevance, keys.lengths, keys.max_pairs_per_query) == ([2, 1, 1, 1], [3, 4, 5, 6], 7)
    (a, x), (b, y), (c, x_again), (d, a_again) = keys.documents
    assert (x, a) == (x_again, a_again) and len({a, b, c, d, x, y}) == 6
    assert len(keys.relevant[0]) == 4 and keys.relevant[0] > {a, b, c} and not keys.relevant[0] & {d, x, y}
    assert len(keys.relevant[1]) == 2 and d in keys.relevant[1] and not keys.relevant[1] & {a, b, c, x, y}
