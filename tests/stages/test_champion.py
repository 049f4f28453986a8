"""A released encoder is scored on today's test as evaluate scores it, without the queries that it can have seen."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prepared_tables import write_split, write_word_pairs

from attune.data.text_hash import text_hash
from attune.data.trained_on import FILE, TrainedOn, read_trained_on, seen_clusters
from attune.encoding.scored import load_encoder
from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.runtime.manifest import MANIFEST, sha256_of
from attune.stage import Machine, call
from attune.stages.champion import SCORES, SYSTEM, ChampionParams, champion, way_of
from attune.stages.embed import EmbedParams, embed
from attune.stages.evaluate import EvaluateParams, evaluate
from attune.tables import CORPUS, QRELS, SPLIT_QUERIES, read

MACHINE = Machine(threads=1, precision="fp32", batch_tokens=512)
WORDS = "array graph matrix mean sum sort tree edge node vector signal table".split()


class Case:
    """A corpus of word pairs, test queries in clusters of two, and a released encoder called v1."""

    def __init__(self, root: Path, released: Path) -> None:
        self.root = root
        shutil.copytree(released, root / "champions" / "v1")
        pairs = [(one, other) for one in WORDS for other in WORDS if one < other]
        ids = write_word_pairs(pairs, root / "prepared")
        for split, own in {"train": pairs[:4], "dev": pairs[4:20], "test": pairs[20:40], "paraphrases": []}.items():
            names = [f"{split}{i:02}" for i in range(len(own))]
            columns = {"query_id": names, "text": [f"Find {b} and {a}" for a, b in own]}
            columns["cluster_id"] = [f"c{split}{number // 2}" for number in range(len(names))]
            judged = [(name, ids[pairs.index(pair)], 1) for name, pair in zip(names, own, strict=True)]
            write_split(root / f"splits/{split}", columns, judged)

    def trained_on(self, queries: list[str], documents: list[str]) -> None:
        """Texts that the champion's training read, by hash."""
        hashes = (frozenset(map(text_hash, texts)) for texts in (queries, documents))
        TrainedOn(*hashes).write(self.root / FILE)
        self.add((self.root / FILE).read_text())

    def add(self, text: str) -> None:
        """Writes the hashes into the released folder, and into its manifest."""
        folder = self.root / "champions" / "v1"
        (folder / FILE).write_text(text)
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][FILE] = {"sha256": sha256_of(folder / FILE), "size": len(text.encode())}
        (folder / MANIFEST).write_text(json.dumps(manifest))

    def run(self, name: str = "v1", by: str = "cluster") -> tuple[dict[str, Any], pl.DataFrame]:
        inputs = {"folder": self.root / "champions", "prepared": self.root / "prepared", "splits": self.root / "splits"}
        out, receipt = self.root / "out", self.root / "champion.json"
        call(champion, ChampionParams(machine=MACHINE), receipt, name=name, by=by, out=out, **inputs)
        return json.loads(receipt.read_text()), read(out / "scores.parquet", SCORES)

    def evaluated(self) -> pl.DataFrame:
        """Scores of the same encoder by stages embed and evaluate."""
        model, common = self.root / "champions/v1", {n: self.root / n for n in ("prepared", "splits")}
        encoding = EmbedParams(processes=1, machine=MACHINE)
        vectors = self.root / "vectors"
        call(embed, encoding, None, system=SYSTEM, model=model, exported=model, out=vectors, **common)
        settings = EvaluateParams(
            depth=100,
            n_train_sample=10,
            n_groups=5,
            truncate_dims=[],
            machine=MACHINE,
            bm25_k1=1.2,
            bm25_b=0.75,
            bm25_language="",
            champion="",
        )
        runs = {"input": vectors, "beside": vectors, "out": self.root / "runs", "groups": self.root / "groups.csv"}
        evaluate(settings, system="tuned", **runs, **common)
        return read(self.root / "runs/scores.parquet", SCORES).filter(pl.col("split") == "test").sort("query_id")


@pytest.fixture
def case(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.chdir(tmp_path)  # scratch
    # a stage loads the same modules in each process; the second run of a test finds more of them loaded
    monkeypatch.setattr("attune.encoding.shards.code_files", list)
    return Case(tmp_path, tiny_onnx)


def test_the_champion_has_the_scores_that_evaluate_gives_its_graph(case: Case) -> None:
    """The same measures query by query; a folder without hashes is scored on all of test, and says so."""
    receipt, scores = case.run()
    expected = case.evaluated()
    assert scores["query_id"].to_list() == expected["query_id"].to_list()
    for measure in MEASURES:
        assert scores[measure].to_list() == pytest.approx(expected[measure].to_list(), abs=1e-6)
    assert (receipt["n_queries"], receipt["n_left_out"], receipt["is_training_known"]) == (20, 0, False)
    assert receipt["ndcg@10"] == pytest.approx(expected["ndcg@10"].mean(), abs=1e-6)


def test_documents_are_encoded_once_per_encoder(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run has the same scores and encodes queries alone."""
    _, first = case.run()

    class Queries:
        """An encoder that refuses documents."""

        def __init__(self, *arguments: Any) -> None:
            self.encode_query = load_encoder(*arguments).encode_query

        def encode_document(self, texts: list[str]) -> None:
            raise AssertionError(f"{len(texts)} documents are encoded again")

    monkeypatch.setattr("attune.stages.champion.load_encoder", Queries)
    assert case.run()[1].equals(first)


def test_whole_clusters_that_the_champion_can_have_seen_are_left_out(case: Case) -> None:
    """A query of training, whatever its case, and an answer of training; each with its cluster."""
    queries = read(case.root / "splits/test/queries.parquet", SPLIT_QUERIES)["text"].to_list()
    corpus = read(case.root / "prepared/corpus.parquet", CORPUS)
    judged = read(case.root / "splits/test/qrels.parquet", QRELS)
    answer = dict(corpus.select("document_id", "text").iter_rows())[judged["document_id"][7]]
    case.trained_on([f"  {queries[2].upper()} ", "an old query"], [answer])
    receipt, scores = case.run()
    kept = [f"test{i:02}" for i in range(20) if i not in (2, 3, 6, 7)]  # clusters of two
    assert scores["query_id"].to_list() == kept
    assert (receipt["n_queries"], receipt["n_left_out"], receipt["is_training_known"]) == (16, 4, True)
    by_query, _ = case.run(by="query")  # documents are shared on purpose
    assert by_query["n_left_out"] == 2


def test_without_a_champion_nothing_is_encoded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty table and a receipt that names nobody."""
    monkeypatch.setattr("attune.stages.champion.load_encoder", None)
    receipt, scores = case.run("")
    assert receipt == {"name": "", "n_queries": 0, "n_left_out": 0} and scores.is_empty()


def test_what_is_no_released_encoder_or_has_seen_all_is_bad_input(case: Case) -> None:
    """An unknown name, a path out of the folder, a damaged file, and training on today's test."""
    for name in ("v2", "../champions/v1"):
        with pytest.raises(BadInput, match=r"evaluate\.champion: .*expected a released encoder .*dvc get"):
            case.run(name)
    texts = read(case.root / "splits/test/queries.parquet", SPLIT_QUERIES)["text"].to_list()
    case.trained_on(texts[1:], [])
    with pytest.raises(BadInput, match=r"v1: was trained on 10 of test's 10 clusters, so nothing is left"):
        case.run()
    for damaged in ("{}", '{"queries": "all", "documents": []}', '{"queries": [1], "documents": []}', "[" * 100_000):
        case.add(damaged)
        with pytest.raises(BadInput, match=r"trained_on\.json: not the hashes of what an encoder was trained on \("):
            case.run()
    (case.root / "champions/v1/tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match=r"tokenizer\.json"):
        case.run()


def test_a_release_names_what_train_and_dev_read_and_nothing_of_test(case: Case) -> None:
    """Hashes of their queries and relevant documents; read back as written; test's clusters are not among them."""
    corpus = read(case.root / "prepared/corpus.parquet", CORPUS)
    own = TrainedOn.of(case.root / "splits", corpus)
    assert (len(own.queries), len(own.documents)) == (20, 20)
    own.write(case.root / FILE)
    assert read_trained_on(case.root) == own and read_trained_on(case.root / "splits") is None
    assert seen_clusters(case.root / "splits/test", corpus, own, "cluster") == set()
    assert seen_clusters(case.root / "splits/dev", corpus, own, "cluster") == {f"cdev{i}" for i in range(8)}


def test_the_champion_runs_as_tuned_does(case: Case) -> None:
    """The fp32 graph of its folder: the vectors of the encoder loaded as system tuned."""
    folder = case.root / "champions/v1"
    way = way_of(SYSTEM, folder, MACHINE)
    assert load_encoder(SYSTEM, way, folder, folder, MACHINE).dim == 32 and way.precision == "fp32"
