"""Mining's options, through the whole stage: two rankings, margins, like queries, a reranker, the sample."""

import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import build_tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mine import Data, mined, name, params

from attune.errors import BadInput
from attune.stage import call
from attune.stages.mine import mine
from attune.tables import NEGATIVE_SAMPLE, TRIPLETS, read


def like(data: Data, query: int, same_query: float) -> set[int]:
    """What answers the other queries of that cosine."""
    cosines = np.round(data.query_vectors.astype(float) @ data.query_vectors[query].astype(float), 6)
    others = [other for other in np.flatnonzero(cosines >= same_query).tolist() if other != query]
    return {row for other in others for row in data.positives[other]}


@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    ceiling=st.sampled_from([0.7, 0.9, 1.0]),
    margin=st.sampled_from([0.0, 0.1]),
    same_query=st.sampled_from([0.9, 1.01]),
    first_rank=st.integers(0, 2),
    n=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_no_setting_lets_an_answer_through(
    seed: int, share: float, ceiling: float, margin: float, same_query: float, first_rank: int, n: int
) -> None:
    """Never a positive, one of its cluster, a like query's answer, or, but for random ones, above a ceiling; twice the
    same bytes."""
    data = Data.random(seed)
    options = params(n_negatives=n, lexical_share=share, max_share_of_positive=ceiling, min_margin=margin)
    options = options.model_copy(update={"same_query": same_query, "first_rank": first_rank, "n_sample": 1000})
    with tempfile.TemporaryDirectory() as folder:
        try:
            negatives, receipt = mined(data, Path(folder), options)
        except BadInput as error:  # like queries have left too few
            assert same_query < 1 and "raise mine.same_query" in str(error)
            return
        sample = read(Path(folder) / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
        inputs = {part: Path(folder) / part for part in ("prepared", "train", "embeddings")}
        call(mine, options, None, **inputs, rerankers=Path(folder), out=Path(folder) / "again")
        for file in ("triplets.parquet", "sample.parquet"):
            assert (Path(folder) / "again" / file).read_bytes() == (Path(folder) / "mined" / file).read_bytes()
    for query, rows in enumerate(negatives):
        assert len(rows) == len(set(rows)) == n
        assert not set(rows) & (set(data.positives[query]) | like(data, query, same_query))
        assert all(data.in_train[row] and data.clusters[row] != data.cluster_of(query) for row in rows)
    assert sample.height == receipt["n_kept"] + receipt["n_filled_at_random"] == n * len(negatives)
    for query_id, row, score, source in sample.select(
        "query_id", "negative_id", "negative_score", "source"
    ).iter_rows():
        query, scores = int(query_id[1:]), data.scores(int(query_id[1:]))
        assert score == pytest.approx(scores[int(row[1:])], abs=2e-6)
        lowest = min(scores[data.positives[query]])
        if source != "random":
            assert score <= min(lowest - (1 - ceiling) * abs(lowest), lowest - margin) + 2e-6
    assert sample.filter(source="lexical").height == receipt["n_kept_from_lexical"]


def test_answers_of_like_queries_are_counted_and_left_out(tmp_path: Path) -> None:
    """What is left out is what was mined without the rule; it counts them beyond the cluster's."""
    data = Data.random(7)
    (tmp_path / "off").mkdir()
    (tmp_path / "on").mkdir()
    without, off = mined(data, tmp_path / "off", params())
    _, on = mined(data, tmp_path / "on", params(same_query=0.75))
    assert off["n_same_query"] == 0
    # clusters come first: only the answers of other clusters are this rule's
    expected = sum(
        row in like(data, query, 0.75) and data.clusters[row] != data.cluster_of(query)
        for query in range(len(data.positives))
        for row in data.ranked(query, 6)
    )
    assert on["n_same_query"] == expected > 0
    assert any(set(rows) & like(data, query, 0.75) for query, rows in enumerate(without))


def test_half_of_the_negatives_share_words_with_their_query(tmp_path: Path) -> None:
    """Lexical ones hold the query's one word; every other place is lexical as long as there are such documents."""
    data = Data.random(3)
    _, receipt = mined(data, tmp_path, params(lexical_share=0.5, depth=20, n_sample=1000))
    sample = read(tmp_path / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
    lexical = sample.filter(source="lexical")
    assert lexical.height == receipt["n_kept_from_lexical"] == len(data.positives)
    for text, negative in lexical.select("text", "negative_text").iter_rows():
        assert text.removesuffix("?") in negative.split()


def test_the_sample_shows_the_negative_beside_the_lowest_positive(tmp_path: Path) -> None:
    """So many rows, drawn by seed, with titles, texts and scores; the user's own are among them."""
    data = Data.random(7)
    others = [row for row in np.flatnonzero(data.in_train).tolist() if data.clusters[row] != data.cluster_of(0)][:2]
    mined(data, tmp_path, params(n_sample=1000), {0: others})
    all_ = read(tmp_path / "mined" / "sample.parquet", NEGATIVE_SAMPLE)
    triplets = read(tmp_path / "mined" / "triplets.parquet", TRIPLETS).unique("query_id").explode("negative_ids")
    assert set(all_.select("query_id", "negative_id").rows()) == set(triplets.select("query_id", "negative_ids").rows())
    assert all_.filter(source="own").rows(named=True)[0]["query_id"] == "q00"
    assert all_.filter(source="own")["negative_id"].to_list() == [name("d", row) for row in others]
    for row in all_.iter_rows(named=True):
        query, scores = int(row["query_id"][1:]), data.scores(int(row["query_id"][1:]))
        lowest = min(data.positives[query], key=lambda positive: scores[positive])
        assert row["positive_id"] == name("d", lowest)
        assert row["positive_title"] == f"title {row['positive_id']}"
        assert row["negative_title"] == f"title {row['negative_id']}"
        assert row["positive_score"] == pytest.approx(scores[lowest], abs=2e-6)
    (tmp_path / "few").mkdir()
    drawn = []
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "few")
        (tmp_path / "few").mkdir()
        mined(data, tmp_path / "few", params(n_sample=4, seed=seed))
        drawn.append(read(tmp_path / "few" / "mined" / "sample.parquet", NEGATIVE_SAMPLE))
    assert [sample.height for sample in drawn] == [4, 4]
    assert drawn[0].select("query_id", "negative_id").rows() != drawn[1].select("query_id", "negative_id").rows()


def test_the_receipt_tells_how_scores_lie(tmp_path: Path) -> None:
    """Percentiles of the lowest positives, by numpy on the data itself."""
    data = Data.random(7)
    _, receipt = mined(data, tmp_path, params())
    lowest = [min(data.scores(query)[rows]) for query, rows in enumerate(data.positives)]
    for percentile in (5, 25, 50, 75, 95):
        expected = np.percentile(lowest, percentile)
        assert receipt[f"lowest_positive_score_p{percentile:02}"] == pytest.approx(expected, abs=2e-6)
    assert receipt["negative_score_p05"] < receipt["negative_score_p95"] < receipt["lowest_positive_score_p95"]
    assert receipt["scored_by"] == "cosine"


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two random cross-encoders: one with a single output, one that tells three classes apart."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("rerankers")
    bert = build_tiny_encoder(folder / "encoder").parent / "bert"
    for title, n_outputs in (("score", 1), ("classes", 3)):
        shutil.copytree(bert, folder / title)
        shape = BertConfig.from_pretrained(bert, num_labels=n_outputs, initializer_range=0.5)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            BertForSequenceClassification(shape).eval().save_pretrained(folder / title)
    (folder / "empty").mkdir()
    return folder


def sigmoids(folder: Path, texts: list[tuple[str, str]]) -> list[float]:
    """The reranker's scores by transformers alone, one pair at a time."""
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


def test_with_a_reranker_the_rules_go_by_its_scores(tmp_path: Path, rerankers: Path) -> None:
    """Candidates stay FAISS's, in its order; but the ceiling is .9 of the lowest positive's sigmoid."""
    data = Data.random(2)
    options = params(reranker="score", max_share_of_positive=0.9, n_sample=1000)
    arguments = data.written(tmp_path)
    call(mine, options, tmp_path / "mine.json", **arguments, rerankers=rerankers, out=tmp_path / "mined")
    corpus = pl.read_parquet(tmp_path / "prepared" / "corpus.parquet")
    documents = [f"{title} {text}" for title, text in corpus.select("title", "text").iter_rows()]
    queries = pl.read_parquet(tmp_path / "train" / "queries.parquet")["text"].to_list()
    triplets = read(tmp_path / "mined" / "triplets.parquet", TRIPLETS)
    negatives = dict(triplets.select("query_id", "negative_ids").iter_rows())
    n_kept = 0
    for query, positives in enumerate(data.positives):
        scores = sigmoids(rerankers / "score", [(queries[query], text) for text in documents])
        ceiling = 0.9 * min(scores[row] for row in positives)
        allowed = [
            row
            for row in data.ranked(query, 6)
            if data.clusters[row] != data.cluster_of(query) and scores[row] <= ceiling
        ][:2]
        n_kept += len(allowed)
        assert negatives[name("q", query)][: len(allowed)] == [name("d", row) for row in allowed]
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
def test_a_folder_that_is_no_reranker_is_refused_in_one_line(
    tmp_path: Path, rerankers: Path, folder: str, complaint: str
) -> None:
    (rerankers / "broken").mkdir(exist_ok=True)
    (rerankers / "broken" / "config.json").write_text("{}")
    options = params(reranker=folder)
    with pytest.raises(BadInput, match=complaint):
        call(mine, options, None, **Data.random(2).written(tmp_path), rerankers=rerankers, out=tmp_path / "mined")
    assert not (tmp_path / "mined").exists()


@pytest.mark.parametrize("name_", ["../elsewhere", "/absolute", "a/b", "."])
def test_a_reranker_is_a_name_not_a_path(name_: str) -> None:
    """What lies elsewhere DVC would not watch."""
    with pytest.raises(ValueError, match="reranker"):
        params(reranker=name_)
