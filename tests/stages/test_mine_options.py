"""Options of mining, through the whole stage: BM25 candidates, margins, same_query, a reranker, the sample."""

import math
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import build_tiny_reranker
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_inputs import Data, mine_params, name, run_mine
from scipy import stats

from attune.errors import BadInput
from attune.stage import call
from attune.stages.mine import drawn_pairs, mine
from attune.tables import NEGATIVE_SAMPLE, TRIPLETS, read


@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    max_share=st.sampled_from([0.7, 0.9, 1.0]),
    margin=st.sampled_from([0.0, 0.1]),
    same_query=st.sampled_from([0.9, 1.01]),
    first_rank=st.integers(0, 2),
    n=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_no_setting_lets_an_answer_through(
    seed: int, share: float, max_share: float, margin: float, same_query: float, first_rank: int, n: int
) -> None:
    """No answer, none of a query that reads or means the same, none mined above its row's limit; equal bytes twice."""
    data = Data.random(seed)
    params = mine_params(n_negatives=n, lexical_share=share, max_share_of_positive=max_share, min_margin=margin)
    params = params.model_copy(update={"same_query": same_query, "first_rank": first_rank, "n_sample": 1000})
    with tempfile.TemporaryDirectory() as folder:
        try:
            negatives, receipt = run_mine(data, Path(folder), params)
        except BadInput as error:  # same_query left too few documents
            assert same_query < 1 and "raise mine.same_query" in str(error)
            return
        sample = read(Path(folder) / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
        inputs = {part: Path(folder) / part for part in ("prepared", "train", "embeddings")}
        call(mine, params, None, **inputs, rerankers=Path(folder), out=Path(folder) / "again")
        for file in ("triplets.parquet", "sample.parquet"):
            assert (Path(folder) / "again" / file).read_bytes() == (Path(folder) / "mined" / file).read_bytes()
    n_too_close, pairs = 0, set()
    for query, of_rows in enumerate(negatives):
        scores = data.scores(query)
        for positive, rows in of_rows.items():
            assert len(rows) == len(set(rows)) == n
            assert not set(rows) & (set(data.positives[query]) | data.answers_of_similar_queries(query, same_query))
            assert set(rows) <= set(data.allowed_rows(query))
            own = scores[positive]
            limit = min(own - (1 - max_share) * abs(own), own - margin) + 2e-6
            n_too_close += int(sum(scores[row] > limit for row in rows))
            pairs |= {(name("q", query), name("d", row)) for row in rows}
    n_mined = receipt["n_kept"] + receipt["n_kept_from_deeper"]
    assert n_mined + receipt["n_filled_at_random"] == n * data.n_rows()
    assert n_too_close <= receipt["n_filled_too_close"]  # so none was mined
    assert set(sample.select("query_id", "negative_id").rows()) == pairs and sample.height == len(pairs)
    for query_id, row, score in sample.select("query_id", "negative_id", "negative_score").iter_rows():
        assert score == pytest.approx(data.scores(int(query_id[1:]))[int(row[1:])], abs=2e-6)
    assert sample.filter(source="lexical").height <= receipt["n_kept_from_lexical"]


def test_answers_of_the_same_query_are_counted_and_left_out(tmp_path: Path) -> None:
    """same_query rejects answers of queries with the same meaning, which are mined without the rule."""
    data = Data.random(7)
    (tmp_path / "off").mkdir()
    (tmp_path / "on").mkdir()
    without, off = run_mine(data, tmp_path / "off", mine_params())
    _, on = run_mine(data, tmp_path / "on", mine_params(same_query=0.75))
    assert off["n_same_query"] == 0
    expected = sum(
        len(data.positives[query])  # a candidate counts in each row of its query
        * (row in data.answers_of_similar_queries(query, 0.75) - data.never_negatives(query))
        for query in range(len(data.positives))
        for row in data.ranked(query, 6)
    )
    assert on["n_same_query"] == expected > 0
    assert any(
        set(rows) & data.answers_of_similar_queries(query, 0.75)
        for query, of_rows in enumerate(without)
        for rows in of_rows.values()
    )


def test_half_of_the_negatives_share_words_with_their_query(tmp_path: Path) -> None:
    """lexical_share 0.5: every other negative is from BM25's ranking and holds the query's one word."""
    data = Data.random(3)
    _, receipt = run_mine(data, tmp_path, mine_params(lexical_share=0.5, depth=20, n_sample=1000))
    sample = read(tmp_path / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
    lexical = sample.filter(source="lexical")
    assert receipt["n_kept_from_lexical"] == data.n_rows()
    assert len(data.positives) < lexical.height <= data.n_rows()  # rows of a query may share one
    for text, negative in lexical.select("text", "negative_text").iter_rows():
        assert text.removesuffix("?") in negative.split()


def test_the_sample_shows_negatives_beside_the_lowest_positive(tmp_path: Path) -> None:
    """A large sample holds each negative that mining chose once, none of the user's own, with titles and scores."""
    data = Data.random(7)
    own = data.allowed_rows(0)[:2]
    run_mine(data, tmp_path, mine_params(n_sample=1000), {0: own})
    sample = read(tmp_path / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
    triplets = read(tmp_path / "mined" / "triplets.parquet", TRIPLETS).explode("negative_ids")
    expected = set(triplets.filter(pl.col("query_id") != "q00").select("query_id", "negative_ids").rows())
    assert sorted(sample.select("query_id", "negative_id").rows()) == sorted(expected)
    assert "own" not in sample["source"].to_list()
    for row in sample.iter_rows(named=True):
        query, scores = int(row["query_id"][1:]), data.scores(int(row["query_id"][1:]))
        lowest = min(data.positives[query], key=lambda positive: scores[positive])
        assert row["positive_id"] == name("d", lowest)
        assert row["positive_title"] == f"title {row['positive_id']}"
        assert row["negative_title"] == f"title {row['negative_id']}"
        assert row["positive_score"] == pytest.approx(scores[lowest], abs=2e-6)


def test_the_sample_is_a_random_draw_of_n_sample_negatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows of the full sample, the first ones of its random order, and others with another seed."""
    data = Data.random(7)

    def drawn(folder: str, n_sample: int, seed: int) -> list[tuple[str, str]]:
        monkeypatch.setattr("attune.stages.mine.SEED", seed)  # of the sample alone
        (tmp_path / folder).mkdir()
        run_mine(data, tmp_path / folder, mine_params(n_sample=n_sample))
        sample = read(tmp_path / folder / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
        return sample.select("query_id", "negative_id").rows()

    first, second, all_ = drawn("first", 4, 1), drawn("second", 4, 2), drawn("all", 1000, 1)
    assert len(first) == len(second) == 4 and first != second
    assert first == all_[:4] and set(second) < set(all_)
    assert all_ != sorted(all_)


def test_every_pair_is_drawn_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 400 seeds, 40 of 200 pairs: counts differ no more than those of a simple random sample."""
    n_seeds, n_pairs, n = 400, 200, 40
    queries, documents = (pl.Series([f"{letter}{row}" for row in range(n_pairs)]) for letter in "qd")
    counts = np.zeros(n_pairs)
    for seed in range(n_seeds):
        monkeypatch.setattr("attune.stages.mine.SEED", seed)
        drawn = drawn_pairs(queries, documents, n)
        assert len(set(drawn.tolist())) == n
        counts[drawn] += 1
    share = n / n_pairs
    statistic = ((counts - n_seeds * share) ** 2).sum() / (n_seeds * share * (1 - share))
    assert stats.chi2.ppf(0.001, n_pairs - 1) < statistic < stats.chi2.ppf(0.999, n_pairs - 1)


def test_most_pairs_are_drawn_again_when_others_join() -> None:
    """Of 1,000 pairs 100 are left out and 100 others join: about nine of ten drawn pairs stay, in their order."""
    ids = pl.Series([f"{row:04}" for row in range(1100)])
    before, after = (drawn_pairs(part, part, 100) for part in (ids[:1000], ids[100:]))
    stayed = [row for row in before.tolist() if row - 100 in set(after.tolist())]
    assert 80 <= len(stayed) < 100
    assert stayed == [row + 100 for row in after.tolist() if row + 100 in set(before.tolist())]


def test_the_receipt_has_percentiles_of_scores(tmp_path: Path) -> None:
    """Percentiles of the lowest positives equal numpy's on the data; negatives score lower."""
    data = Data.random(7)
    _, receipt = run_mine(data, tmp_path, mine_params())
    lowest = [min(data.scores(query)[rows]) for query, rows in enumerate(data.positives)]
    for percentile in (5, 25, 50, 75, 95):
        expected = np.percentile(lowest, percentile)
        assert receipt[f"lowest_positive_score_p{percentile:02}"] == pytest.approx(expected, abs=2e-6)
    assert receipt["negative_score_p05"] < receipt["negative_score_p95"] < receipt["lowest_positive_score_p95"]
    assert receipt["scored_by"] == "cosine"


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two random cross-encoders: one with a single output, one with three classes."""
    folder = tmp_path_factory.mktemp("rerankers")
    for title, n_outputs in (("score", 1), ("classes", 3)):
        build_tiny_reranker(folder / title, n_outputs)
    (folder / "empty").mkdir()
    return folder


def sigmoids(folder: Path, texts: list[tuple[str, str]]) -> list[float]:
    """Returns the reranker's scores by transformers alone, one pair at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = [
            model(**tokenizer(*pair, truncation=True, max_length=32, return_tensors="pt")).logits.item()
            for pair in texts
        ]
    return [1 / (1 + math.exp(-logit)) for logit in logits]


def test_with_a_reranker_the_rules_use_its_scores(tmp_path: Path, rerankers: Path) -> None:
    """Candidates stay those of FAISS in its order, but the limit is .9 of the sigmoid of the row's positive."""
    data = Data.random(2)
    params = mine_params(reranker="score", max_share_of_positive=0.9, n_sample=1000)
    arguments = data.written(tmp_path)
    call(mine, params, tmp_path / "mine.json", **arguments, rerankers=rerankers, out=tmp_path / "mined")
    corpus = pl.read_parquet(tmp_path / "prepared" / "corpus.parquet")
    documents = [f"{title} {text}" for title, text in corpus.select("title", "text").iter_rows()]
    queries = pl.read_parquet(tmp_path / "train" / "queries.parquet")["text"].to_list()
    triplets = read(tmp_path / "mined" / "triplets.parquet", TRIPLETS)
    negatives = {row[:2]: row[2] for row in triplets.select("query_id", "document_id", "negative_ids").iter_rows()}
    n_kept = 0
    for query in range(len(data.positives)):
        scores = sigmoids(rerankers / "score", [(queries[query], text) for text in documents])
        for positive, rows in data.mined_from(query, data.ranked(query, 6), scores, 0.9).items():
            n_kept += len(rows)
            written = negatives[name("q", query), name("d", positive)]
            assert written[: len(rows)] == [name("d", row) for row in rows]
    assert n_kept > 0
    sample = read(tmp_path / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
    texts = [(row["text"], f"{row['negative_title']} {row['negative_text']}") for row in sample.iter_rows(named=True)]
    assert sample["negative_score"].to_list() == pytest.approx(sigmoids(rerankers / "score", texts), abs=1e-5)
    assert '"scored_by": "score"' in (tmp_path / "mine.json").read_text()


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        ("missing", "no cross-encoder"),
        ("empty", "no cross-encoder"),
        ("classes", "3 outputs, expected one score"),
        ("broken", "cannot be loaded|not a cross-encoder"),
    ],
)
def test_a_folder_that_is_no_reranker_is_refused(tmp_path: Path, rerankers: Path, folder: str, complaint: str) -> None:
    """One line says what the folder lacks; nothing is written."""
    (rerankers / "broken").mkdir(exist_ok=True)
    (rerankers / "broken" / "config.json").write_text("{}")
    params = mine_params(reranker=folder)
    with pytest.raises(BadInput, match=complaint):
        call(mine, params, None, **Data.random(2).written(tmp_path), rerankers=rerankers, out=tmp_path / "mined")
    assert not (tmp_path / "mined").exists()


@pytest.mark.parametrize("name_", ["../elsewhere", "/absolute", "a/b", "."])
def test_a_reranker_is_a_name_not_a_path(name_: str) -> None:
    """DVC tracks models/rerankers only, so paths to other places are refused."""
    with pytest.raises(ValueError, match="reranker"):
        mine_params(reranker=name_)
