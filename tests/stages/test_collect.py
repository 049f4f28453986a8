"""Stage collect: its files, the draw of a subset, and no output after an error."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped_params import PANEL

from attune.data.sources.beir import read_beir
from attune.data.sources.raw import Document, Qrel, Query, RawData, subset
from attune.errors import BadInput
from attune.stage import call, load_params
from attune.stages.collect import CollectParams, collect, write_raw

TEXTS = ("plain", 'quotes " and \\ and \t', "Grüße 东京 🎉", "two\nlines\r\nand more", "\u2028 \x85 \x01", " ")


DEFAULT = load_params(CollectParams, "collect", PANEL).model_dump()


def params(**changes: object) -> CollectParams:
    values = DEFAULT | {"source": "beir", "path": "", "packages": ["numpy"], "internal": []}
    return CollectParams.model_validate({**values, **changes})


def columns(**names: object) -> dict[str, object]:
    return DEFAULT["columns"] | names


def written(folder: Path) -> dict[str, list[str]]:
    """The lines of all files of data/raw."""
    return {path.relative_to(folder).as_posix(): path.read_text().splitlines() for path in sorted(folder.rglob("*.*"))}


def write_folder(folder: Path, splits: dict[str, list[str]]) -> Path:
    """A BEIR folder with a document and a query per text, judged in the given splits."""
    (folder / "qrels").mkdir(parents=True)
    for file, letter in (("corpus.jsonl", "d"), ("queries.jsonl", "q")):
        rows = [{"_id": f"{letter}{n}", "title": "", "text": f"{letter} {text}"} for n, text in enumerate(TEXTS)]
        (folder / file).write_text("\n".join(map(json.dumps, rows)))
    for split, rows in splits.items():
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    return folder


def test_what_is_written_reads_back_the_same_in_plain_utf8_lines(tmp_path: Path) -> None:
    """Any text, with control characters and line separators of Unicode; judgments with their splits."""
    rows = [f"q{n}\td{n}\t{n + 1}" for n in range(len(TEXTS))]
    source = write_folder(tmp_path / "in", {"train": rows[:4], "test": rows[4:]})
    out = tmp_path / "out" / "raw"
    call(collect, params(path=str(source)), tmp_path / "receipt.json", out=out)
    assert read_beir(out) == read_beir(source)
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert files == [
        *("as_indexed/forms.jsonl", "corpus.jsonl", "forms.jsonl", "paraphrases.jsonl", "paraphrases.tsv"),
        *("qrels/test.tsv", "qrels/train.tsv", "queries.jsonl"),
    ]
    corpus = (out / "corpus.jsonl").read_bytes()
    assert corpus.count(b"\n") == len(TEXTS) and corpus.endswith(b"\n") and b"\r" not in corpus
    assert "Grüße 东京 🎉".encode() in corpus
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert (receipt["source"], receipt["n_documents"], receipt["n_queries"], receipt["n_qrels"]) == ("beir", 6, 6, 6)
    assert receipt["n_dropped_document_blank"] == 0


def test_triplets_bring_negatives_groups_and_strata(tmp_path: Path) -> None:
    """A judgment of 0 for what does not answer; queries keep the group and the stratum that the user gave them."""
    rows = ["ask,text,bad,customer,product", "how to sort,sort(x),shuffle(x),ann,shop", "how to mix,shuffle(x),,bob,"]
    (tmp_path / "own.csv").write_text("\n".join(rows))
    names = columns(query="ask", document="text", negatives=["bad"], group="customer", stratum="product")
    settings = params(source="triplets", path=str(tmp_path / "own.csv"), columns=names)
    call(collect, settings, tmp_path / "receipt.json", out=tmp_path / "raw")
    raw = written(tmp_path / "raw")
    queries = [json.loads(line) for line in raw["queries.jsonl"]]
    assert [(q["text"], q["group"], q.get("stratum")) for q in queries] == [
        ("how to sort", "ann", "shop"),
        ("how to mix", "bob", None),
    ]
    ids = {json.loads(line)["text"]: json.loads(line)["_id"] for line in raw["corpus.jsonl"]}
    assert [line.split("\t")[1:] for line in raw["qrels/all.tsv"][1:]] == [
        [ids["sort(x)"], "1"],
        [ids["shuffle(x)"], "0"],
        [ids["shuffle(x)"], "1"],
    ]
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert (receipt["source"], receipt["n_qrels"], receipt["n_negatives"]) == ("triplets", 2, 1)


def test_a_corpus_gets_queries_that_leave_their_documents(tmp_path: Path) -> None:
    """From a heading and a first sentence."""
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki" / "a.md").write_text("# How to return an order\n\nSend the parcel back within a month.\n")
    (tmp_path / "wiki" / "b.txt").write_text("Shipping to the islands costs more. Ask the post office for the price.")
    call(collect, params(source="documents", path=str(tmp_path / "wiki")), None, out=tmp_path / "raw")
    raw = written(tmp_path / "raw")
    asked = [json.loads(line)["text"] for line in raw["queries.jsonl"]]
    assert asked == ["How to return an order", "Shipping to the islands costs more"]
    corpus = "\n".join(raw["corpus.jsonl"])
    assert "Send the parcel back" in corpus and not any(query in corpus for query in asked)


@pytest.mark.parametrize("source", ["beir", "pairs", "triplets", "documents"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a,b\n\x00", b'"', b"{", b"PAR1", b"query,document\n1"])
def test_bad_data_leaves_nothing_behind(tmp_path: Path, source: str, content: bytes) -> None:
    """Whatever the source: an error that says something, no output and no half of one."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("corpus.jsonl", "queries.jsonl") if source == "beir" else ("own.csv",):
        (data / name).write_bytes(content)
    names = columns(negatives=["bad"] if source == "triplets" else [])
    with pytest.raises(BadInput, match=r"data.*: .+"):
        call(collect, params(source=source, path=str(data), columns=names), tmp_path / "r.json", out=tmp_path / "raw")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_triplets_need_columns_of_negatives(tmp_path: Path) -> None:
    """The message names the parameter."""
    with pytest.raises(BadInput, match=r"collect\.columns\.negatives is empty; name the columns"):
        call(collect, params(source="triplets", path=str(tmp_path)), None, out=tmp_path / "raw")


def test_the_receipt_names_the_versions_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also counts their documents."""
    (tmp_path / "tool-3.1.dist-info").mkdir()
    (tmp_path / "tool-3.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 3.1\n")
    (tmp_path / "tool-3.1.dist-info" / "RECORD").write_text("tool.py,,\n")
    (tmp_path / "tool.py").write_text('def f(x):\n    """Add one to it."""\n    return x + 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    call(collect, params(source="packages", packages=["tool"]), tmp_path / "receipt.json", out=tmp_path / "raw")
    corpus = (tmp_path / "raw" / "corpus.jsonl").read_text()
    assert corpus == '{"_id": "tool.py::f", "title": "tool.f", "text": "def f(x):\\n    return x + 1"}\n'
    assert (
        tmp_path / "raw" / "queries.jsonl"
    ).read_text() == '{"_id": "tool.py::f#summary", "text": "Add one to it"}\n'
    assert (
        tmp_path / "raw/qrels/all.tsv"
    ).read_text() == "query-id\tcorpus-id\tscore\ntool.py::f#summary\ttool.py::f\t1\n"
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["tool_version"] == "3.1"
    assert str(tmp_path) not in json.dumps(receipt)


def test_a_subset_that_leaves_a_given_split_empty_is_refused(tmp_path: Path) -> None:
    """The message names max_documents."""
    (tmp_path / "t.csv").write_text("q,d,s\n" + "".join(f"w{i},a{i},{'train' if i else 'test'}\n" for i in range(50)))
    own = columns(query="q", document="d", split="s")
    small = params(source="pairs", path=str(tmp_path / "t.csv"), columns=own, max_documents=2)
    with pytest.raises(BadInput, match=r"max_documents 2 leaves no query of test; raise it, or set 0 for all"):
        call(collect, small, None, out=tmp_path / "raw")
    assert not list(tmp_path.glob("raw*"))


def test_no_query_left_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message gives the reasons of dropped rows; an empty path is named, too."""
    (tmp_path / "empty-1.dist-info").mkdir()
    (tmp_path / "empty-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: empty\nVersion: 1\n")
    (tmp_path / "empty-1.dist-info" / "RECORD").write_text("empty.py,,\n")
    (tmp_path / "empty.py").write_text('def _f(x):\n    """Add one to it."""\n    return x + 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"no document with a query is left \(most dropped: document_not_offered 1"):
        call(collect, params(source="packages", packages=["empty"]), None, out=tmp_path / "raw")
    with pytest.raises(BadInput, match=r"params\.yaml: collect\.path is empty; name the file"):
        call(collect, params(), None, out=tmp_path / "raw")
    assert not list(tmp_path.glob("raw*"))


@pytest.mark.parametrize(
    "change",
    [
        {"source": "csv"},
        {"packages": []},
        {"packages": [""]},
        {"max_documents": -1},
        {"min_query_words": 0},
        {"max_document_characters": 10},
        {"colour": "red"},
    ],
)
def test_a_parameter_out_of_range_is_refused(change: dict[str, object]) -> None:
    """By the record, before anything is read."""
    with pytest.raises(ValueError, match="1 validation error"):
        params(**change)


@st.composite
def raw_data(draw: st.DrawFn) -> RawData:
    n_documents, n_queries = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    numbers = st.sets(st.integers(0, n_documents - 1), min_size=1, max_size=4)
    qrels = [Qrel(f"q{q}", f"d{d}", 1) for q in range(n_queries) for d in sorted(draw(numbers))]
    n_train = draw(st.integers(0, n_queries))
    train = {f"q{n}" for n in range(n_train)}
    return RawData(
        documents=[Document(f"d{n}", "", f"text {n}") for n in range(n_documents)],
        queries=[Query(f"q{n}", f"text {n}") for n in range(n_queries)],
        qrels={
            "train": [q for q in qrels if q.query_id in train],
            "test": [q for q in qrels if q.query_id not in train],
        },
    )


def relevant(raw: RawData) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for qrel in (q for qrels in raw.qrels.values() for q in qrels):
        found.setdefault(qrel.query_id, set()).add(qrel.document_id)
    return found


@given(raw_data(), st.integers(1, 13))
def test_a_subset_keeps_each_query_with_all_its_answers_or_not(raw: RawData, max_documents: int) -> None:
    """As many documents as allowed, in their order, and no query is left out whose answers are kept."""
    small = subset(raw, max_documents)
    ids = {document.document_id for document in small.documents}
    assert len(ids) == min(max_documents, len(raw.documents))
    assert set(relevant(small)) == {query.query_id for query in small.queries}
    assert all(answers == relevant(raw)[q] and answers <= ids for q, answers in relevant(small).items())
    left_out = set(relevant(raw)) - set(relevant(small))
    assert not any(relevant(raw)[query_id] <= ids_of_answers(small) for query_id in left_out)
    order = [document.document_id for document in raw.documents]
    assert [d.document_id for d in small.documents] == [id_ for id_ in order if id_ in ids]


def ids_of_answers(raw: RawData) -> set[str]:
    return set().union(*relevant(raw).values())


@given(raw_data(), st.integers(1, 13), st.randoms(use_true_random=False))
def test_a_subset_does_not_depend_on_the_order_of_rows(raw: RawData, max_documents: int, chance: random.Random) -> None:
    """For any data set and size."""
    shuffled = RawData(
        documents=chance.sample(raw.documents, len(raw.documents)),
        queries=chance.sample(raw.queries, len(raw.queries)),
        qrels={split: chance.sample(qrels, len(qrels)) for split, qrels in raw.qrels.items()},
    )
    one, other = subset(raw, max_documents), subset(shuffled, max_documents)
    assert set(one.documents) == set(other.documents)
    assert set(one.queries) == set(other.queries)
    assert relevant(one) == relevant(other)


def test_a_subset_keeps_the_forms_of_its_documents() -> None:
    """And no other ones."""
    documents = [Document(f"d{n}", "", "text") for n in range(3)]
    raw = RawData(documents, [Query("q", "text")], {"all": [Qrel("q", "d1", 1)]}, forms={"d1": "one", "d2": "two"})
    raw = replace(raw, indexed={"d0": "none", "d1": "first one"})
    drawn = subset(raw, 1)
    assert (drawn.forms, drawn.indexed) == ({"d1": "one"}, {"d1": "first one"})


def test_other_forms_of_documents_are_written_as_lines(tmp_path: Path) -> None:
    """One object with id and text for each document that has one."""
    raw = RawData(
        [Document("d", "", "text")], [Query("q", "text")], {"all": []}, forms={"d": "Grüße\n"}, indexed={"d": "Gruß"}
    )
    write_raw(raw, tmp_path)
    assert (tmp_path / "as_indexed" / "forms.jsonl").read_text() == '{"_id": "d", "text": "Gruß"}\n'
    assert (tmp_path / "forms.jsonl").read_text() == '{"_id": "d", "text": "Grüße\\n"}\n'


def test_bad_data_on_the_command_line_is_one_line_and_exit_1(tmp_path: Path) -> None:
    """Nothing is written."""
    folder = write_folder(tmp_path / "mine", {"all": ["q0\td99\t1"]})
    values = params(path=folder.name).model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(json.dumps({"collect": values}))
    command = [sys.executable, "-m", "attune.stages.collect", "--out", "data/raw", "--receipt", "metrics/collect.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "attune collect: mine/qrels/all.tsv:2: corpus-id 'd99' is not in corpus.jsonl; "
        "add its row there or remove this line\n"
    )
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name in ("data", "metrics", "raw")
    ]
