"""Stage audit, end to end: it finds the leaks that are planted in a test split."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from families import without_rehearsal
from shipped_params import PANEL

from attune.data.splitting.assignment import SplitParams
from attune.data.splitting.kinds import OF_STAGE_AUDIT
from attune.data.splitting.leaks import Texts
from attune.encoding.encoders import TorchEncoder, load_torch
from attune.errors import BadInput
from attune.stage import call, load_params
from attune.stages.audit import AuditParams, audit, semantic_crossings, semantic_leaks
from attune.stages.base import BaseParams, base
from attune.stages.prepare import PrepareParams, prepare
from attune.stages.split import split
from attune.tables import CORPUS, DOCUMENT_FORMS, LEAKS, SPLIT_QUERIES, SPLITS, Leak, full_texts, read, write

PARAMS = PANEL

# train queries of a shop's customers, and their paraphrases in test
PARAPHRASED = {
    "How do I reset the password of my account?": "How can I change the password of my account when it is forgotten?",
    "How long does shipping to Canada take?": "How many days does a delivery to Canada need?",
    "Can I return a product after thirty days?": "Is it possible to send back a product after 30 days?",
    "Which payment methods are accepted in the shop?": "What methods of payment does the shop accept?",
    "Where can I download my invoice?": "How do I download the invoice of my order?",
    "How do I cancel my monthly subscription?": "How can I end a subscription that is paid monthly?",
    "Is there a discount for students?": "Do students get a discount?",
    "How can I track where my package is?": "How do I track the location of my package?",
    "Does the warranty cover water damage?": "Is damage by water covered by the warranty?",
    "How do I change the delivery address of an order?": "Can I edit the address an order is delivered to?",
}
TOPICS = [
    *("sorting arrays", "compiling kernels", "drawing maps", "tuning pianos", "baking sourdough", "training puppies"),
    *(
        "pruning roses",
        "fixing bicycles",
        "reading barometers",
        "mixing concrete",
        "writing sonnets",
        "sailing dinghies",
    ),
    *("restoring clocks", "brewing coffee", "knitting mittens", "polishing lenses", "grafting apples", "welding steel"),
    *("juggling torches", "folding cranes", "carving spoons", "keeping bees", "growing tomatoes", "painting fences"),
    *("binding books", "tying knots", "climbing glaciers", "casting bronze", "weaving baskets", "roasting chestnuts"),
]


# a train document and a test document: the encoder reads their first tokens, which are the same, and no more
LONG = " ".join(f"paragraph{i} of the manual" for i in range(60))
CUT = {name: LONG + " ".join(f" {name}{i} ends" for i in range(300)) for name in ("train", "test")}


# pairs whose query is the other side's document in other words
TURNED = {
    "train": [
        ("Give the cactus water two times each month in summer", "The harbour is closed for ships at night."),
        ("Who paints the boats in the harbour?", "Boil the eggs for seven minutes and then cool them in cold water."),
    ],
    "test": [
        ("Who feeds the cat of my neighbour?", "In summer, water the cactus twice a month."),
        ("Boil eggs seven minutes, then cool them down with cold water", "The tower has a clock of copper."),
    ],
}
# a docstring over unlike code
DOCSTRING = " ".join(f"remark{i} about the parameters" for i in range(12))
FORMS = {id_: f"{DOCSTRING} Of {id_}" for id_ in ("d-train3", "d-test4")}


def planted(folder: Path) -> Path:
    """Writes a raw data set with given splits: 43 pairs in train, 6 in dev, and leaks of each kind in test.

    Pair 40 of train and 30 of test have documents that are equal as far as the encoder reads; those after them are
    TURNED. Two documents have another form.
    """
    train = [f"What should a beginner know about {topic} in the first week?" for topic in TOPICS]
    exact = [text.upper() for text in train[:10]]
    near = [text.replace("in the first week", "during the first week") for text in train[10:20]]
    queries = {"train": train + list(PARAPHRASED), "test": exact + near + list(PARAPHRASED.values())}
    queries["train"].append("Which voltage do the lamps in the cellar need?")
    queries["test"].append("Name the tallest mountain of each continent")
    for name, pairs in TURNED.items():
        queries[name] += [query for query, _ in pairs]
    queries["dev"] = [f"Who invented the {name} and when?" for name in "telescope zip radio kite sextant loom".split()]
    (folder / "qrels").mkdir(parents=True)
    documents, records = [], []
    for name, texts in queries.items():
        lines = ["query-id\tcorpus-id\tscore"]
        for row, text in enumerate(texts):
            records.append({"_id": f"{name}{row}", "text": text})
            answer = f"Answer {name}{row} " + " ".join(f"{name}{row}word{i}" for i in range(12))
            last = len(texts) - len(TURNED.get(name, ())) - 1
            if name in CUT and row >= last:
                answer = [CUT[name], *(document for _, document in TURNED[name])][row - last]
            documents.append({"_id": f"d-{name}{row}", "text": answer})
            lines.append(f"{name}{row}\td-{name}{row}\t1")
        (folder / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    forms = [{"_id": id_, "text": text} for id_, text in FORMS.items()]
    for name, rows in (("corpus", documents), ("queries", records), ("forms", forms)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted data after prepare and split, and its embeddings by the real base encoder."""
    folder = tmp_path_factory.mktemp("planted")
    encoder_params = load_params(BaseParams, "base", PARAMS).model_copy(update={"max_length": 96})
    places = {"corpus": folder / "prepared/corpus.parquet", "train": folder / "none"}
    with without_rehearsal(has_graph=False):
        call(base, encoder_params, None, **places, parameters=PARAMS, out=folder / "base", exported=folder / "graph")
    clustering = load_params(PrepareParams, "prepare", PARAMS)
    call(prepare, clustering, None, raw=planted(folder / "raw"), out=folder / "prepared")
    tolerant = load_params(SplitParams, "split", PARAMS).model_copy(update={"max_leak_share": 1.0})
    near = asdict(clustering.near_duplicates())
    call(
        split,
        tolerant,
        folder / "split.json",
        prepared=folder / "prepared",
        **near,
        out=folder / "splits",
        assignments=folder / "assignments.csv",
    )
    encoder = TorchEncoder(load_torch(folder / "base"), "fp32", 4096)
    (folder / "embeddings").mkdir()
    corpus = full_texts(read(folder / "prepared" / "corpus.parquet", CORPUS))
    np.save(folder / "embeddings" / "corpus.npy", encoder.encode_document(corpus, show_progress=False))
    for name in SPLITS:
        texts = read(folder / "splits" / name / "queries.parquet", SPLIT_QUERIES)["text"].to_list()
        np.save(folder / "embeddings" / f"{name}.npy", encoder.encode_query(texts, show_progress=False))
    return folder


def audited(data: Path, out: Path, by: str = "cluster", **changes: object) -> dict[str, int]:
    params = load_params(AuditParams, "audit", PARAMS).model_copy(update=changes)
    inputs = {name: data / name for name in ("prepared", "splits", "embeddings")}
    near = load_params(PrepareParams, "prepare", PARAMS)
    shingles = {"document_shingle": near.document_shingle, "similar_document": near.similar_document}
    call(audit, params, out / "audit.json", **inputs, **shingles, by=by, out=out / "audit")
    receipt: dict[str, int] = json.loads((out / "audit.json").read_text())
    return receipt


def test_planted_leaks_are_found(data: Path, tmp_path: Path) -> None:
    """All 10 exact and 10 near ones, and at least 7 of 10 paraphrases, each with the train query that it repeats."""
    audited(data, tmp_path)
    leaks = read(tmp_path / "audit" / "leaks.parquet", LEAKS).filter(pl.col("split") == "test")
    pairs = {kind: dict(leaks.filter(pl.col("kind") == kind).select("leaked_id", "match_id").iter_rows())
             for kind in ("exact_queries", "near_queries", "semantic_queries")}  # fmt: skip
    exact = {f"test{i}": f"train{i}" for i in range(10)}
    near = {f"test{i}": f"train{i}" for i in range(10, 20)}
    paraphrased = {f"test{i}": f"train{i + 10}" for i in range(20, 30)}
    assert pairs["exact_queries"] == exact
    assert pairs["near_queries"] == exact | near
    n_found = len(pairs["semantic_queries"].items() & paraphrased.items())
    assert n_found >= 7, f"{n_found} of 10 paraphrases found"
    assert not pairs["near_queries"].keys() & paraphrased.keys()  # words alone do not show them


def test_clean_splits_have_no_leaks(data: Path, tmp_path: Path) -> None:
    """dev shares nothing with train, by words or by meaning, and no document is in two splits."""
    receipt = audited(data, tmp_path) | json.loads((data / "split.json").read_text())
    counts = {key: n for key, n in receipt.items() if "_leaks." in key and n}
    by_words = [f"test_leaks.{kind}_queries" for kind in ("exact", "near")]
    assert sorted(counts) == sorted([*by_words, *(f"test_leaks.{kind}" for kind in OF_STAGE_AUDIT)])


def test_documents_that_are_equal_as_far_as_the_encoder_reads_are_found_by_meaning(data: Path, tmp_path: Path) -> None:
    """Their words differ, most of them; their embeddings are the same."""
    assert audited(data, tmp_path)["test_leaks.semantic_documents"] == 1
    leaks = read(tmp_path / "audit" / "leaks.parquet", LEAKS).filter(pl.col("kind") == "semantic_documents")
    assert leaks.rows() == [("test", "semantic_documents", "d-test30", "d-train40", pytest.approx(1))]


def test_texts_that_are_in_the_other_role_in_other_words_are_found(data: Path, tmp_path: Path) -> None:
    """A test query that is a train document, a test document that is a train query; words alone show neither."""
    receipt = audited(data, tmp_path)
    leaks = read(tmp_path / "audit" / "leaks.parquet", LEAKS).filter(pl.col("kind").str.contains("crossed"))
    assert leaks.select("split", "kind", "leaked_id", "match_id").rows() == [
        ("test", "semantic_crossed_queries", "test32", "d-train42"),
        ("test", "semantic_crossed_documents", "d-test31", "train41"),
    ]
    assert receipt["test_leaks.semantic_crossed_queries"] == receipt["test_leaks.semantic_crossed_documents"] == 1


def test_copied_docstrings_over_other_code_are_found(data: Path, tmp_path: Path) -> None:
    """Two documents of unlike words and the same other form; data without other forms has no such figure."""
    assert audited(data, tmp_path)["test_leaks.near_forms"] == 1
    leaks = read(tmp_path / "audit" / "leaks.parquet", LEAKS).filter(pl.col("kind") == "near_forms")
    assert leaks.select("split", "leaked_id", "match_id").rows() == [("test", "d-test4", "d-train3")]
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("splits", "embeddings"):
        (plain / name).symlink_to(data / name)
    write(pl.DataFrame(schema=dict(DOCUMENT_FORMS)), plain / "prepared" / "forms.parquet", DOCUMENT_FORMS)
    for name in ("corpus.parquet", "passages.parquet"):
        (plain / "prepared" / name).symlink_to(data / "prepared" / name)
    assert not any("forms" in key for key in audited(plain, tmp_path))


def test_by_query_only_queries_leak(data: Path, tmp_path: Path) -> None:
    """Documents are shared on purpose: neither the receipt nor the table has theirs; the queries' are the same."""
    by_cluster, by_query = (audited(data, tmp_path / by, by=by) for by in ("cluster", "query"))
    assert by_query == {key: n for key, n in by_cluster.items() if key.endswith("queries")}
    tables = [read(tmp_path / by / "audit" / "leaks.parquet", LEAKS) for by in ("cluster", "query")]
    assert tables[1].rows() == tables[0].filter(pl.col("kind").str.ends_with("queries")).rows()


def test_more_semantic_leaks_than_allowed_stop_the_pipeline(data: Path, tmp_path: Path) -> None:
    """Nothing is written; the message gives count, kind and the first leak."""
    with pytest.raises(BadInput, match=r"semantic_queries of test .* like 'train\d+'"):
        audited(data, tmp_path, max_leak_share=0.5)
    assert not any(tmp_path.iterdir())


def test_semantic_leaks_are_the_nearest_neighbours_above_the_threshold() -> None:
    """Cosines .8 and .6 to the nearest seen row; test is compared with dev, too."""
    queries = Texts("queries", np.array(["train", "dev", "test", "test"]), ["t", "v", "h1", "h2"], ["x", "y", "z", "w"])
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0.6, 0, 0.8]], dtype=np.float32)
    assert semantic_leaks(queries, vectors, 0.7, 1) == [Leak("test", "semantic_queries", "h1", "v", pytest.approx(0.8))]
    assert [leak.leaked_id for leak in semantic_leaks(queries, vectors, 0.6, 1)] == ["h1", "h2"]


def test_crossings_are_the_nearest_texts_of_the_other_role_that_are_not_judged() -> None:
    """Own relevant documents are passed over, also where train and dev have them; test is compared with dev, too."""
    queries = Texts("queries", np.array(["train", "dev", "test", "test"]), ["t", "v", "h1", "h2"], ["x", "y", "z", "w"])
    of_queries = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=np.float32)
    documents = Texts("documents", np.array(["train", "dev", "train", "dev"]), ["a", "a", "b", "c"], list("aabc"))
    of_documents = np.array([[1, 0, 0], [1, 0, 0], [0.8, 0.6, 0], [0, 0.6, 0.8]], dtype=np.float32)
    own, other = (queries, of_queries), (documents, of_documents)
    nearest = [("h1", "a", 1.0), ("h2", "c", 0.8)]
    known = [("h1", "b", 0.8), ("h2", "c", 0.8)]
    for judged, expected in (({}, nearest), ({"h1": {"a"}}, known), ({"h1": {"a", "b"}}, known[1:])):
        found = semantic_crossings(own, other, judged, 0.7, 1)
        assert [leak[:2] for leak in found] == [("test", "semantic_crossed_queries")] * len(expected)
        assert [(leak[2], leak[3], pytest.approx(leak[4])) for leak in found] == expected
    back = semantic_crossings(other, own, {}, 0.59, 1)
    assert back == [Leak("dev", "semantic_crossed_documents", "c", "t", pytest.approx(0.6))]
