"""Every judged query is scored over the whole corpus from embeddings alone; misfits are refused."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import onnx
import polars as pl
import pytest
from ir_measures import AP, RR, R, nDCG
from prepared_tables import filled, write_corpus, write_split
from pydantic import ValidationError
from shipped_params import SHIPPED
from static_folders import write_static

from attune.errors import BadInput
from attune.evaluation.scoring.groups import COLUMNS, KEPT
from attune.evaluation.scoring.measures import MEASURES
from attune.export.query_map import QueryMap
from attune.export.static_folder import write_record
from attune.runtime.adapter import ADAPTER
from attune.runtime.static import StaticEncoder
from attune.stage import Machine
from attune.stages.evaluate import SCORES, EvaluateParams, evaluate
from attune.tables import CORPUS, OWN_TEXTS, QRELS, RUN, SPLIT_QUERIES, read, write

PARAMS = EvaluateParams(
    depth=100,
    n_train_sample=100,
    n_groups=5,
    truncate_dims=[],
    machine=Machine(threads=1, precision="fp32", batch_tokens=512),
    bm25_k1=1.2,
    bm25_b=0.75,
    bm25_language="",
    champion="",
)
N_DOCUMENTS = 150


@dataclass(frozen=True)
class Case:
    """A prepared corpus, splits and one system's embeddings on disk."""

    root: Path

    def run(
        self,
        system: str = "base",
        source: str = "embeddings",
        out: str = "out",
        beside: Path | None = None,
        **changes: object,
    ) -> dict[str, Any]:
        paths = {"prepared": self.root / "prepared", "splits": self.root / "splits", "out": self.root / out}
        paths |= {"groups": self.root / f"{out}.csv", "input": self.root / source}
        paths["beside"] = paths["input"] if beside is None else beside
        return dict(evaluate(PARAMS.model_copy(update=changes), system=system, **paths))


@pytest.fixture(autouse=True)
def shipped_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory of the stage, which reads the declared languages there."""
    monkeypatch.chdir(SHIPPED)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """150 documents; 7 dev and 12 test queries with one to four graded relevant documents each."""
    rng = np.random.default_rng(0)
    document_ids = [f"d{i:03}" for i in range(N_DOCUMENTS)]
    texts = [f"topic{i} shared" for i in range(N_DOCUMENTS)]
    corpus = filled({"document_id": document_ids, "title": [""] * N_DOCUMENTS, "text": texts}, CORPUS)
    write_corpus(corpus, tmp_path / "prepared")
    vectors = rng.normal(size=(N_DOCUMENTS, 8))
    save_embeddings(tmp_path / "embeddings/corpus.npy", vectors)
    for split, n in (("dev", 7), ("test", 12), ("train", 9), ("paraphrases", 0)):
        query_ids = [f"{split}{i:02}" for i in rng.permutation(n)]
        targets = [rng.choice(N_DOCUMENTS, size=1 + i % 4, replace=False) for i in range(n)]
        columns = {"query_id": query_ids, "text": [f"topic{t[0]}" for t in targets]}
        judged = [(q, document_ids[d], int(1 + d % 3)) for q, t in zip(query_ids, targets, strict=True) for d in t]
        write_split(tmp_path / f"splits/{split}", columns, sorted(judged))
        near = np.array([vectors[t[0]] + rng.normal(size=8) for t in targets]).reshape(-1, 8)
        save_embeddings(tmp_path / f"embeddings/{split}.npy", near)
    return Case(tmp_path)


def save_embeddings(path: Path, vectors: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    np.save(path, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))


def test_the_receipt_holds_test_measures_then_sizes_then_dev_measures(case: Case) -> None:
    """`dvc metrics diff` shows the keys in this order."""
    receipt = case.run()
    told = [f"{split}_{key}" for split in ("dev", "train") for key in ("recall@10", "ndcg@10")]
    assert list(receipt) == [*MEASURES, "n_queries", "n_queries_with_ties", "n_documents", *told, "n_paraphrases"]
    assert (receipt["n_queries"], receipt["n_queries_with_ties"], receipt["n_documents"]) == (12, 0, N_DOCUMENTS)
    assert all(0 < receipt[measure] < 1 for measure in MEASURES)


def test_an_independent_library_finds_the_same_figures_in_the_run(case: Case) -> None:
    """ir-measures computes the receipt's figures from run.parquet."""
    receipt = case.run()
    run = read(case.root / "out/run.parquet", RUN)
    scored = [ir_measures.ScoredDoc(q, d, -float(rank)) for q, rank, d, _ in run.iter_rows()]
    for split, prefix, names in (("test", "", MEASURES), ("dev", "dev_", ("recall@10", "ndcg@10"))):
        qrels = read(case.root / f"splits/{split}/qrels.parquet", QRELS)
        theirs = ir_measures.calc_aggregate(
            [R @ 1, R @ 5, R @ 10, R @ 20, R @ 50, R @ 100, RR @ 10, nDCG @ 10, AP @ 100],
            [ir_measures.Qrel(*row) for row in qrels.iter_rows()],
            scored,
        )
        values = dict(
            zip(MEASURES, (v for _, v in sorted(theirs.items(), key=lambda m: order(str(m[0])))), strict=True)
        )
        for name in names:
            assert receipt[prefix + name] == pytest.approx(values[name], abs=1e-9)


def order(measure: str) -> tuple[int, int]:
    """Puts the names of ir-measures in the order of ours."""
    name, depth = measure.split("@")
    return ["R", "RR", "nDCG", "AP"].index(name), int(depth)


def test_every_query_has_its_scores_and_their_mean_is_the_receipt(case: Case) -> None:
    """scores.parquet has one row per dev and test query, sorted by id."""
    receipt = case.run()
    scores = pl.read_parquet(case.root / "out/scores.parquet").filter(pl.col("split") != "train")
    assert scores.columns == ["query_id", "split", *MEASURES]
    assert scores["query_id"].to_list() == sorted([f"dev{i:02}" for i in range(7)] + [f"test{i:02}" for i in range(12)])
    test = scores.filter(pl.col("split") == "test")
    assert {name: test[name].mean() for name in MEASURES} == pytest.approx({name: receipt[name] for name in MEASURES})


def test_the_groups_hold_every_test_query_and_their_mean_is_the_receipt(case: Case) -> None:
    """The csv kept in git weighs to the receipt's means."""
    receipt = case.run()
    kept = pl.read_csv(case.root / "out.csv")
    assert kept.columns == list(COLUMNS) and kept["n"].sum() == 12
    for name in KEPT:
        assert (kept["n"] * kept[name]).sum() / 12 == pytest.approx(receipt[name], abs=1e-6)


def test_the_run_ranks_the_top_100_of_every_query_without_gaps(case: Case) -> None:
    """Ranks are 1 to 100, scores fall, no document repeats."""
    case.run()
    run = read(case.root / "out/run.parquet", RUN)
    assert run.equals(run.sort("query_id", "rank"))
    for ranking in run.partition_by("query_id"):
        assert ranking["rank"].to_list() == list(range(1, 101))
        assert ranking["score"].is_sorted(descending=True)
        assert ranking["document_id"].n_unique() == 100


def test_bm25_is_scored_from_the_texts_alone(case: Case) -> None:
    """Each query is the one word that its first relevant document alone holds: rank 1, and nothing else is ranked."""
    receipt = case.run(system="bm25", source="prepared/corpus.parquet")
    assert receipt["mrr@10"] == 1
    run = read(case.root / "out/run.parquet", RUN)
    assert run["rank"].to_list() == [1] * (7 + 12)


def inflected(case: Case, query: str) -> None:
    """Rewrites the queries of dev and test to a word and its number: `topics 12` where the document has `topic`."""
    corpus = read(case.root / "prepared/corpus.parquet", CORPUS)
    texts = [f"topic number{i}" if i % 2 else f"other number{i}" for i in range(N_DOCUMENTS)]
    write_corpus(corpus.with_columns(text=pl.Series(texts)), case.root / "prepared")
    for split in ("dev", "test"):
        file = case.root / f"splits/{split}/queries.parquet"
        write(read(file, SPLIT_QUERIES).with_columns(text=pl.lit(query)), file, SPLIT_QUERIES)


@pytest.mark.parametrize(("query", "language"), [("topics", "en"), ("topic", "none")])
def test_dev_chooses_the_language_of_bm25(case: Case, query: str, language: str) -> None:
    """English stems where only they match; words as they are where stems bring nothing. The receipt has dev's figures.

    Its languages are those of release.languages: English.
    """
    inflected(case, query)
    receipt = case.run(system="bm25", source="prepared/corpus.parquet", bm25_language="auto")
    assert receipt["language"] == language
    figures = [receipt[f"language_{name}_dev_ndcg@10"] for name in ("none", "en")]
    assert (figures[0] < figures[1]) == (language == "en") and receipt["dev_ndcg@10"] == max(figures) > 0
    given = case.run(system="bm25", source="prepared/corpus.parquet", bm25_language="English")
    assert given["language"] == "en" and "language_none_dev_ndcg@10" not in given
    assert given["dev_ndcg@10"] == figures[1]


def test_a_language_without_a_stemmer_is_refused() -> None:
    """The message lists the codes."""
    with pytest.raises(ValidationError, match=r"expected auto, .* en, "):
        EvaluateParams.model_validate(PARAMS.model_dump() | {"bm25_language": "klingon"})


def renamed(case: Case, seed: int) -> None:
    """Gives the documents each other's ids, and so other rows, in corpus, embeddings and judgments."""
    other = np.random.default_rng(seed).permutation(N_DOCUMENTS)
    path = case.root / "prepared/corpus.parquet"
    corpus = read(path, CORPUS)
    names = dict(zip(corpus["document_id"], corpus["document_id"].gather(other), strict=True))
    write(corpus.with_columns(pl.col("document_id").replace_strict(names)).sort("document_id"), path, CORPUS)
    vectors = np.load(case.root / "embeddings/corpus.npy")
    np.save(case.root / "embeddings/corpus.npy", vectors[np.argsort(other)])
    for split in ("dev", "test", "train"):
        file = case.root / f"splits/{split}/qrels.parquet"
        qrels = read(file, QRELS).with_columns(pl.col("document_id").replace_strict(names))
        write(qrels.sort("query_id", "document_id"), file, QRELS)


@pytest.mark.parametrize("system", ["base", "bm25"])
def test_figures_do_not_depend_on_the_ids_of_equal_documents(case: Case, system: str) -> None:
    """Planted: each document four times, one or none of which is judged. Every figure and group stays under new ids."""
    copies = np.arange(N_DOCUMENTS) // 4
    path = case.root / "embeddings/corpus.npy"
    np.save(path, np.load(path)[4 * copies])
    corpus = read(case.root / "prepared/corpus.parquet", CORPUS)
    texts = pl.Series([f"topic{4 * copy} shared" for copy in copies])
    write_corpus(corpus.with_columns(text=texts), case.root / "prepared")
    words = pl.col("text").str.extract(r"(\d+)").cast(pl.Int64) // 4 * 4
    for split in ("dev", "test", "train"):
        file = case.root / f"splits/{split}/queries.parquet"
        queries = read(file, SPLIT_QUERIES).with_columns(text=pl.format("topic{}", words))
        write(queries, file, SPLIT_QUERIES)
    before = case.run(system, out="before", truncate_dims=[3])
    assert before["n_queries_with_ties"] == 12
    for seed in (1, 2):
        renamed(case, seed)
        assert case.run(system, out="after", truncate_dims=[3]) == pytest.approx(before, abs=1e-12)
        assert (case.root / "after.csv").read_text() == (case.root / "before.csv").read_text()


def test_a_tie_beyond_the_depth_counts_in_full_and_the_run_ends_at_the_depth(case: Case) -> None:
    """Planted: all documents equal, one judged: recall@100 is 100 of 150, whichever it is."""
    path = case.root / "embeddings/corpus.npy"
    np.save(path, np.tile(np.load(path)[:1], (N_DOCUMENTS, 1)))
    receipt = case.run()
    assert receipt["recall@100"] == pytest.approx(100 / 150) and receipt["recall@1"] == pytest.approx(1 / 150)
    assert receipt["n_queries_with_ties"] == 12
    assert read(case.root / "out/run.parquet", RUN)["rank"].max() == 100


def test_the_same_input_gives_the_same_bytes(case: Case) -> None:
    """Run and scores are byte-identical when repeated."""
    case.run(out="one")
    case.run(out="two")
    for name in ("run.parquet", "scores.parquet"):
        assert (case.root / "one" / name).read_bytes() == (case.root / "two" / name).read_bytes()


@pytest.mark.parametrize(("name", "table"), [("corpus", "the corpus"), ("test", "the test queries")])
def test_embeddings_of_another_number_of_rows_are_refused(case: Case, name: str, table: str) -> None:
    """The line names the file, its shape and the expected rows."""
    path = case.root / f"embeddings/{name}.npy"
    np.save(path, np.load(path)[1:])
    with pytest.raises(BadInput, match=rf"{name}.npy: shape \(\d+, 8\), expected \d+ rows as in {table}"):
        case.run()


def test_missing_and_damaged_embeddings_are_refused(case: Case) -> None:
    """One line each, with the file."""
    (case.root / "embeddings/dev.npy").write_bytes(b"\x93NUMPY garbage")
    with pytest.raises(BadInput, match=r"dev\.npy: not a readable array"):
        case.run()
    (case.root / "embeddings/dev.npy").unlink()
    with pytest.raises(BadInput, match=r"dev\.npy: not found; run `dvc repro`"):
        case.run()


def test_embeddings_with_nan_are_refused(case: Case) -> None:
    """The line counts the affected rows."""
    vectors = np.load(case.root / "embeddings/corpus.npy")
    vectors[3] = np.nan
    np.save(case.root / "embeddings/corpus.npy", vectors)
    with pytest.raises(BadInput, match="1 corpus embeddings hold NaN"):
        case.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit("nowhere").alias("document_id"), r"qrels.parquet: \d+ rows with an unknown document_id"),
        (pl.lit("nobody").alias("query_id"), r"qrels.parquet: \d+ rows with an unknown query_id"),
        (pl.lit(0, pl.Int64).alias("relevance"), "12 of 12 queries have no relevant document"),
    ],
)
def test_judgments_that_do_not_fit_are_refused(case: Case, change: pl.Expr, message: str) -> None:
    """Unknown ids and queries without a relevant document are counted."""
    path = case.root / "splits/test/qrels.parquet"
    write(read(path, QRELS).with_columns(change), path, QRELS)
    with pytest.raises(BadInput, match=message):
        case.run()


def ranking(case: Case, query_id: str, out: str) -> list[str]:
    """Returns the document ids that a run ranks for a query, best first."""
    run = read(case.root / out / "run.parquet", RUN)
    return run.filter(query_id=query_id).sort("rank")["document_id"].to_list()


@pytest.mark.parametrize("system", ["base", "bm25"])
def test_documents_with_the_querys_own_text_are_left_out_of_its_ranking(case: Case, system: str) -> None:
    """Its two first documents are taken out, the others move up to the full depth; no other query's ranking changes."""
    case.run(system, out="before")
    table = read(case.root / "splits/test/queries.parquet", SPLIT_QUERIES)
    query_id, other = table["query_id"][3], table["query_id"][4]
    first = ranking(case, query_id, "before")[:2]
    own = pl.DataFrame({"query_id": [query_id] * len(first), "document_id": first}, dict(OWN_TEXTS))
    write(own, case.root / "splits/test/own_texts.parquet", OWN_TEXTS)
    case.run(system, out="after")
    case.run(system, out="deeper", depth=102)
    assert ranking(case, query_id, "after") == ranking(case, query_id, "deeper")[:100]
    assert ranking(case, query_id, "after")[: 100 - len(first)] == ranking(case, query_id, "before")[len(first) :]
    assert len(ranking(case, query_id, "after")) == (100 if system == "base" else 0)
    assert ranking(case, other, "after") == ranking(case, other, "before")


def test_own_texts_are_left_out_of_samples_and_truncated_dimensions_too(case: Case) -> None:
    """With every unjudged document left out, nothing stands above the judged ones: recall is 1 in every figure."""
    clean = case.run(truncate_dims=[3], n_train_sample=4, out="clean")
    document_ids = read(case.root / "prepared/corpus.parquet", CORPUS).select("document_id")
    for name in ("train", "test", "dev"):
        qrels = read(case.root / f"splits/{name}/qrels.parquet", QRELS)
        pairs = qrels.select("query_id").unique().join(document_ids, how="cross")
        unjudged = pairs.join(qrels, on=["query_id", "document_id"], how="anti")
        write(unjudged, case.root / f"splits/{name}/own_texts.parquet", OWN_TEXTS)
    receipt = case.run(truncate_dims=[3], n_train_sample=4, out="left_out")
    for key in ("recall@10", "train_recall@10", "dev_recall@10", "dim_3_recall@10", "dim_3_dev_recall@10"):
        assert receipt[key] == 1.0 > clean[key]


def test_an_own_text_of_an_unknown_query_is_refused(case: Case) -> None:
    """The line names the file and the id."""
    own = pl.DataFrame({"query_id": ["nobody"], "document_id": ["d000"]}, dict(OWN_TEXTS))
    write(own, case.root / "splits/dev/own_texts.parquet", OWN_TEXTS)
    with pytest.raises(BadInput, match=r"own_texts.parquet: 1 rows with an unknown query_id \(first: 'nobody'\)"):
        case.run()


def test_a_sample_of_train_is_scored_like_test_where_train_is_embedded(case: Case) -> None:
    """The whole of train as a sample is train; a smaller one is part of it; BM25 and shipped models have none."""
    whole, part = (case.run(n_train_sample=n, out=f"out{n}") for n in (100, 4))
    table = read(case.root / "out100/scores.parquet", SCORES).filter(pl.col("split") == "train")
    assert table.height == 9
    assert whole["train_ndcg@10"] == pytest.approx(table["ndcg@10"].mean())
    few = read(case.root / "out4/scores.parquet", SCORES).filter(pl.col("split") == "train")
    assert few.height == 4
    assert few.join(table, on=few.columns, how="anti").is_empty()
    assert part["train_ndcg@10"] == pytest.approx(few["ndcg@10"].mean())
    assert "train_ndcg@10" not in case.run("bm25", "prepared", "bm25", n_train_sample=100)
    (case.root / "embeddings/train.npy").unlink()
    assert "train_ndcg@10" not in case.run(n_train_sample=100, out="none")


def test_truncated_dimensions_are_scored_by_their_first_numbers_alone(case: Case) -> None:
    """All 8 dimensions give the scores of the whole; numbers beyond the third do not move those of three."""
    before = case.run(truncate_dims=[8, 3])
    for measure in ("recall@10", "ndcg@10"):
        assert before[f"dim_8_{measure}"] == pytest.approx(before[measure])
        assert before[f"dim_8_dev_{measure}"] == pytest.approx(before[f"dev_{measure}"])
    for name in ("corpus", "test", "dev"):
        vectors = np.load(case.root / f"embeddings/{name}.npy")
        vectors[:, 3:] = 0
        save_embeddings(case.root / f"embeddings/{name}.npy", vectors)
    after = case.run(truncate_dims=[3])
    assert after["dim_3_ndcg@10"] == pytest.approx(after["ndcg@10"]) == pytest.approx(before["dim_3_ndcg@10"])
    assert not [key for key in case.run("bm25", "prepared", "bm25", truncate_dims=[3]) if key.startswith("dim_")]


def test_more_dimensions_than_there_are_is_bad_input(case: Case) -> None:
    """The line names the parameter, the value and the limit."""
    with pytest.raises(BadInput, match=r"evaluate\.truncate_dims: got 9, but the embeddings have 8 dimensions"):
        case.run(truncate_dims=[9])


def test_paraphrases_are_scored_where_there_are_some(case: Case) -> None:
    """An empty split is left out; a copy of test scores as test does."""
    assert case.run()["n_paraphrases"] == 0
    for file in ("queries.parquet", "qrels.parquet", "own_texts.parquet"):
        shutil.copy(case.root / "splits/test" / file, case.root / "splits/paraphrases" / file)
    shutil.copy(case.root / "embeddings/test.npy", case.root / "embeddings/paraphrases.npy")
    receipt = case.run()
    assert receipt["n_paraphrases"] == 12
    assert receipt["paraphrases_ndcg@10"] == receipt["ndcg@10"]


def test_an_adapter_maps_the_queries_and_leaves_the_documents(case: Case) -> None:
    """Its scores are those of embeddings that numpy has mapped; the identity's are base's to the bit."""
    query_map = QueryMap(matrix=np.random.default_rng(3).normal(size=(8, 8)).astype(np.float32))
    for name, one in (("mapped", query_map), ("same", QueryMap())):
        (case.root / name / "onnx").mkdir(parents=True)
        onnx.save(one.graph(8, 18), case.root / name / ADAPTER)
    base = case.run()
    shutil.copytree(case.root / "embeddings", case.root / "by_numpy")
    for split in ("dev", "test", "train"):
        file = case.root / f"by_numpy/{split}.npy"
        save_embeddings(file, np.load(file).astype(np.float64) @ query_map.matrix)
    adapted = case.run("adapter", beside=case.root / "mapped")
    assert adapted == pytest.approx(case.run(source="by_numpy")) and adapted != base
    assert case.run("adapter", beside=case.root / "same") == base


def test_a_static_encoder_embeds_the_queries_from_their_texts(case: Case, tiny_onnx: Path) -> None:
    """Its scores are those of embeddings that it has made; one that is off leaves its encoder's, to the bit."""
    encoder = StaticEncoder(write_static(tiny_onnx, case.root / "static"))
    save_embeddings(case.root / "wide/corpus.npy", np.random.default_rng(5).normal(size=(N_DOCUMENTS, encoder.dim)))
    shutil.copytree(case.root / "wide", case.root / "by_static")
    for split in ("dev", "test", "train"):
        texts = pl.read_parquet(case.root / f"splits/{split}/queries.parquet")["text"].to_list()
        np.save(case.root / f"by_static/{split}.npy", encoder.encode_query(texts))
        save_embeddings(case.root / f"wide/{split}.npy", np.ones((len(texts), encoder.dim)))
    own = case.run("static_tuned", "wide", beside=case.root / "static")
    assert own == case.run(source="by_static") != case.run(source="wide")
    write_record(tiny_onnx, {"is_off": True}, case.root / "off")
    assert case.run("static_tuned", "wide", beside=case.root / "off") == case.run(source="wide")


def test_a_hybrid_is_the_best_on_dev_of_ranks_and_weights(case: Case) -> None:
    """Loops over the two runs, scored by ir-measures: dev's figures, the choice, and its score on test."""
    for system, out in (("bm25", "lexical"), ("base", "dense")):
        case.run(system, "prepared/corpus.parquet" if system == "bm25" else "embeddings", out)
    receipt = case.run("hybrid_base", "lexical", "fused", case.root / "dense")
    runs = [read(case.root / f"{name}/run.parquet", RUN) for name in ("lexical", "dense")]
    listed = [{q: own.sort("rank") for (q,), own in run.group_by("query_id")} for run in runs]

    def score(weight: float | None, split: str) -> float:
        rows = []
        for query_id in read(case.root / f"splits/{split}/queries.parquet", SPLIT_QUERIES)["query_id"]:
            sums: dict[str, float] = {}
            for place, table in enumerate(one.get(query_id) for one in listed):
                values = [] if table is None else table["score"].to_list()
                low = 0.0 if place == 0 or not values else values[-1]
                for rank, value in enumerate(values):
                    share = (value - low) / (values[0] - low) if weight is not None else 1 / (61 + rank)
                    factor = 1 if weight is None else weight if place else 1 - weight
                    document = table["document_id"][rank]
                    sums[document] = sums.get(document, 0) + factor * share
            rows += [ir_measures.ScoredDoc(query_id, document, value) for document, value in sums.items()]
        qrels = [ir_measures.Qrel(*row) for row in read(case.root / f"splits/{split}/qrels.parquet", QRELS).iter_rows()]
        return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, rows)[nDCG @ 10])

    assert receipt["reciprocal_ranks_dev_ndcg@10"] == pytest.approx(score(None, "dev"), abs=1e-4)
    assert receipt["weighted_scores_dev_ndcg@10"] == pytest.approx(
        score(receipt["weighted_scores_dense_weight"], "dev"), abs=1e-4
    )
    by_weight = [score(n / 20, "dev") for n in range(1, 20)]
    assert receipt["weighted_scores_dev_ndcg@10"] == pytest.approx(max(by_weight), abs=1e-4)
    is_weighted = receipt["fusion"] == "weighted scores"
    assert receipt["dev_ndcg@10"] == max(
        receipt[f"{kind}_dev_ndcg@10"] for kind in ("reciprocal_ranks", "weighted_scores")
    )
    assert receipt["ndcg@10"] == pytest.approx(
        score(receipt["weighted_scores_dense_weight"] if is_weighted else None, "test"), abs=1e-4
    )
