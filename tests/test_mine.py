"""Hard negatives are hard, and negatives: never a positive, never one of its cluster, never too close to it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.stage import call
from attune.stages.mine import Found, MineParams, Verdicts, fill, judge, mine
from attune.tables import CLUSTERED_QUERIES, CORPUS, DOCUMENT_IDS, QRELS, TRIPLETS, read, write


def params(**changes: object) -> MineParams:
    values = {"n_negatives": 2, "depth": 6, "first_rank": 0, "max_share_of_positive": 0.9, "seed": 1, "threads": 1}
    return MineParams.model_validate(values | changes)


def found(scores: list[float], positives: list[int], own: list[int], lowest: float) -> Found:
    places = np.arange(len(scores))
    return Found(
        scores=np.array([scores], dtype=np.float32),
        rows=places[None],
        is_positive=np.isin(places, positives)[None],
        in_own_cluster=np.isin(places, own)[None],
        lowest_positive=np.array([lowest], dtype=np.float32),
    )


def named(verdicts: Verdicts) -> list[str]:
    from attune.stages.mine import REASONS

    return [REASONS[code] for code in verdicts.reasons[0]]


def test_each_candidate_gets_the_first_verdict_that_applies() -> None:
    """Positive .80, so the ceiling is .72; two are kept and the last is not needed."""
    candidates = found([0.9, 0.8, 0.75, 0.73, 0.72, 0.6, 0.5], positives=[1], own=[1, 2], lowest=0.8)
    expected = ["too_close", "positive", "positive_cluster", "too_close", "kept", "kept", "not_needed"]
    assert named(judge(candidates, params())) == expected


def test_the_nearest_can_be_passed_over() -> None:
    """first_rank skips eligible candidates, not rejected ones."""
    candidates = found([0.9, 0.5, 0.4, 0.3, 0.2], positives=[0], own=[0], lowest=0.9)
    assert named(judge(candidates, params(first_rank=1))) == ["positive", "not_needed", "kept", "kept", "not_needed"]


def test_a_positive_with_a_negative_score_still_has_its_candidates_below_it() -> None:
    """90% of -.5 would be -.45, above the positive; the ceiling is -.55."""
    candidates = found([0.1, -0.5, -0.52, -0.56], positives=[1], own=[1], lowest=-0.5)
    assert named(judge(candidates, params())) == ["too_close", "positive", "too_close", "kept"]


def test_short_lists_are_filled_from_other_clusters_and_counted() -> None:
    """Seeded, without repetition, never from the query's own cluster."""
    clusters = np.array(["a", "a", "b", "c"])
    filled, n_filled = fill([[2], []], [[], []], ["a", "b"], clusters, params())
    assert (filled[0], n_filled) == ([2, 3], 3)
    assert set(filled[1]) < {0, 1, 3} and len(set(filled[1])) == 2
    assert fill([[2], []], [[], []], ["a", "b"], clusters, params())[0] == filled
    # a rejected candidate comes back only when nothing else is left
    assert fill([[]], [[1, 2]], ["c"], clusters, params(n_negatives=1))[0] == [[0]]
    assert sorted(fill([[]], [[1, 2]], ["c"], clusters, params())[0][0]) != [1, 2]
    with pytest.raises(BadInput, match="2 train documents outside .* 3 needed"):
        fill([[]], [[]], ["a"], clusters, params(n_negatives=3))


def corpus_and_train(folder: Path, seed: int, n: int = 40, n_train: int = 28) -> dict[str, Path]:
    """n documents in clusters of two, the first n_train in train; one query per train document; random embeddings."""
    random = np.random.default_rng(seed)
    ids = [f"d{i:02}" for i in range(n)]
    clusters = [f"d{i // 2 * 2:02}" for i in range(n)]
    columns = {"document_id": ids, "title": [""] * n, "text": ids, "duplicate_of": ids, "cluster_id": clusters}
    write(pl.DataFrame(columns, schema=CORPUS), folder / "prepared" / "corpus.parquet", CORPUS)
    train = folder / "train"
    write(pl.DataFrame({"document_id": ids[:n_train]}, schema=DOCUMENT_IDS), train / "documents.parquet", DOCUMENT_IDS)
    query_ids = [f"q{i:02}" for i in range(n_train)]
    rows = {"query_id": query_ids, "text": query_ids, "cluster_id": clusters[:n_train], "given_split": [""] * n_train}
    write(pl.DataFrame(rows, schema=CLUSTERED_QUERIES), train / "queries.parquet", CLUSTERED_QUERIES)
    qrels = {"query_id": query_ids, "document_id": ids[:n_train], "relevance": [1] * n_train}
    write(pl.DataFrame(qrels, schema=QRELS), train / "qrels.parquet", QRELS)
    (folder / "embeddings").mkdir()
    vectors = random.normal(size=(n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "embeddings" / "corpus.npy", vectors)
    np.save(folder / "embeddings" / "train.npy", vectors[:n_train])
    return {"prepared": folder / "prepared", "train": train, "embeddings": folder / "embeddings"}


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_no_negative_is_a_positive_of_its_cluster_or_held_out(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Whatever the embeddings: negatives are distinct train documents outside the query's cluster."""
    folder = tmp_path_factory.mktemp("mine")
    call(mine, params(), folder / "mine.json", **corpus_and_train(folder, seed), out=folder / "mined")
    triplets = read(folder / "mined" / "triplets.parquet", TRIPLETS)
    assert triplets.height == 28
    for query_id, _, cluster, positive, negatives in triplets.iter_rows():
        assert positive == "d" + query_id[1:]
        assert len(set(negatives)) == 2
        assert all(f"d{int(id_[1:]) // 2 * 2:02}" != cluster and int(id_[1:]) < 28 for id_ in negatives)


def test_the_receipt_accounts_for_every_candidate(tmp_path: Path) -> None:
    """Kept and rejected add up to what was looked at, kept and filled to what was written."""
    call(mine, params(), tmp_path / "mine.json", **corpus_and_train(tmp_path, 7), out=tmp_path / "mined")
    receipt = json.loads((tmp_path / "mine.json").read_text())
    reasons = ("n_positive", "n_positive_cluster", "n_too_close", "n_kept", "n_not_needed")
    assert sum(receipt[reason] for reason in reasons) == receipt["n_candidates"] == 28 * 6
    assert receipt["n_kept"] + receipt["n_filled_at_random"] == 28 * 2


def test_no_mined_negatives_are_an_option(tmp_path: Path) -> None:
    """n_negatives: 0 trains on in-batch negatives alone; the rows are there, their lists empty."""
    call(mine, params(n_negatives=0), None, **corpus_and_train(tmp_path, 7), out=tmp_path / "mined")
    triplets = read(tmp_path / "mined" / "triplets.parquet", TRIPLETS)
    assert triplets.height == 28
    assert triplets["negative_ids"].list.len().max() == 0
