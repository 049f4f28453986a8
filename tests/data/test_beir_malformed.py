"""A good BEIR folder, damaged in many ways: it is read, or refused in lines a user can act on."""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.data.sources.beir import read_beir
from attune.data.sources.raw import RawData
from attune.errors import BadInput

HEADER = b"query-id\tcorpus-id\tscore\n"
GOOD_ROWS = {
    "corpus.jsonl": [{"_id": f"d{i}", "title": f"Title {i}", "text": f"word {i}"} for i in range(4)],
    "queries.jsonl": [{"_id": f"q{i}", "text": f"query {i}", "page": i, "metadata": {"kind": "a"}} for i in range(4)],
}
GOOD = {
    **{name: "\n".join(json.dumps(row) for row in GOOD_ROWS[name]).encode() for name in GOOD_ROWS},
    "qrels/train.tsv": HEADER + b"q0\td0\t1\nq1\td1\t2\nq1\td2\t0\n",
    "qrels/test.tsv": HEADER + b"q2\td2\t1\nq3\td3\t1\n",
}

Folder = dict[str, bytes]
Damage = Callable[[Folder], None]
FILES = st.sampled_from(sorted(GOOD))
PLACES = st.integers(0, 10**6)
NASTY = [b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", *(bytes([byte]) for byte in b'\0\xff\xc3\r\n\t"{\\')]
JUNK = [b"[]", b"null", b"{}", b"[" * 5000, b"9" * 5000, b"q1 0 d1 1", b"q0,d0,1", HEADER[:-1]]
VALUES = st.one_of(
    st.sampled_from([None, True, 1, 1.0, 10**600, "", " ", "d1", "q1", "1", "a\tb", "\0", "\ud800", "x" * 600, [], {}]),
    st.floats(),
    st.text(max_size=3),
)
CELLS = st.sampled_from(
    ["", " ", *"q0 q1 q2 q9 d0 d1 d9 0 1 1.0 0.5 -1 1e3 NaN nan inf 9999999999 ٣ 1_0 +1 query-id".split()]
)
PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".zst", lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True))),
    (".gz", lambda content: gzip.compress(content)[:-5]),
    (".zst", lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True))[:-2]),
    (".gz", lambda content: gzip.compress(content)[:20] + b"????"),
    (".gz", bytes),
    (".zst", bytes),
    ("", gzip.compress),
]


@st.composite
def of_bytes(draw: st.DrawFn) -> Damage:
    """Bytes put in, or in place of others."""
    name, place, n_lost = draw(FILES), draw(PLACES), draw(st.integers(0, 3))
    new = draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=4)))

    def damage(folder: Folder) -> None:
        content = folder.get(name, b"")
        at = place % (len(content) + 1)
        folder[name] = content[:at] + new + content[at + n_lost :]

    return damage


@st.composite
def of_lines(draw: st.DrawFn) -> Damage:
    """A line lost, repeated, cut, joined with the next, moved to the end or replaced; or other line ends."""
    name, place, end = draw(FILES), draw(PLACES), draw(st.sampled_from([b"\n"] * 5 + [b"\r\n", b"\r", b"\n\n"]))
    changes: list[Callable[[bytes, list[bytes]], list[bytes]]] = [
        lambda line, after: after,
        lambda line, after: [line, line, *after],
        lambda line, after: [line[: place % (len(line) + 1)], *after],
        lambda line, after: [line + b"".join(after[:1]), *after[1:]],
        lambda line, after: [*after, line],
        *(lambda line, after, junk=junk: [junk, *after] for junk in JUNK),
    ]
    change = draw(st.sampled_from(changes))

    def damage(folder: Folder) -> None:
        lines = folder.get(name, b"").split(b"\n")
        at = place % len(lines)
        folder[name] = end.join([*lines[:at], *change(lines[at], lines[at + 1 :])])

    return damage


@st.composite
def of_keys(draw: st.DrawFn) -> Damage:
    """A value of a row set or its key renamed, or a cell of a judgment replaced."""
    name, place, cell, value = draw(FILES), draw(PLACES), draw(CELLS), draw(VALUES)
    key = draw(st.sampled_from(["_id", "text", "title", "page", "metadata", "x"]))
    renamed = draw(st.sampled_from([None, "id", "text"]))

    def damage(folder: Folder) -> None:
        lines = folder.get(name, b"").split(b"\n")
        at = place % len(lines)
        if name.endswith(".tsv"):
            cells = lines[at].split(b"\t")
            cells[place % len(cells)] = cell.encode()
            lines[at] = b"\t".join(cells)
        else:
            row = {**GOOD_ROWS[name][place % 4], key: value}
            lines[at] = json.dumps(row if renamed is None else {**row, renamed: row.pop(key)}).encode()
        folder[name] = b"\n".join(lines)

    return damage


@st.composite
def of_files(draw: st.DrawFn) -> Damage:
    """A file lost, emptied, made a folder, copied, in another encoding, packed well or badly, or there twice."""
    name, how = draw(FILES), draw(st.sampled_from(["utf-16", "utf-32", "utf-16-le", "latin-1", *PACKED, "/x", "", ""]))
    other = draw(st.sampled_from(["qrels/all.tsv", "qrels/dev.tsv", "qrels/x.tsv", "corpus.jsonl", name, name]))
    stays = draw(st.booleans())

    def damage(folder: Folder) -> None:
        content = folder[name] if stays and name in folder else folder.pop(name, b"")
        if isinstance(how, tuple):
            folder[name + how[0]] = how[1](content)
        elif how == "/x":
            folder[name + how] = content
        else:
            folder[other] = content.decode("utf-8", "replace").encode(how, "replace") if how else content[:-1] * stays

    return damage


def check(raw: RawData) -> None:
    """Checks the properties that later stages rely on."""
    documents = {document.document_id: document for document in raw.documents}
    queries = {query.query_id: query for query in raw.queries}
    assert len(documents) == len(raw.documents) and len(queries) == len(raw.queries)
    for text in (text for row in (*raw.documents, *raw.queries) for text in row):
        assert "\0" not in text.encode().decode()
    assert all(id_.strip() and not set("\t\r\n") & set(id_) and len(id_) <= 500 for id_ in (*documents, *queries))
    assert all((row.title + row.text).strip() for row in raw.documents) and all(q.text.strip() for q in raw.queries)
    judged = [qrel for qrels in raw.qrels.values() for qrel in qrels]
    assert len({qrel[:2] for qrel in judged}) == len(judged)
    assert {qrel.document_id for qrel in judged} <= set(documents)
    assert {qrel.query_id for qrel in judged if qrel.relevance > 0} == {q.query_id for q in judged} == set(queries)
    assert min(qrel.relevance for qrel in judged) >= 0 and all(raw.qrels.values())


def outcome(files: Folder, group: str, stratum: str) -> str:
    """Writes the files and reads the folder: "read", or "refused" with lines that each name a place in it."""
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            path = Path(name, file)
            if not path.parent.is_file() and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        try:
            check(read_beir(Path(name), group, stratum))
        except BadInput as error:
            *lines, last = str(error).split("\n")
            assert all(line.startswith(name) and line.isprintable() and len(line) < 400 for line in lines or [last])
            assert len(lines) <= 20 and (not lines or re.match(r"[0-9]+ problems", last))
            return "refused"
    return "read"


@pytest.mark.parametrize("n", [pytest.param(400, id="some"), pytest.param(1_500, id="all", marks=pytest.mark.slow)])
def test_any_damaged_folder_is_read_or_refused_with_its_places(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Most of them cannot be read, 1,000 in `make test-slow`; nothing but BadInput is raised."""
    tried: Counter[str] = Counter()

    @settings(max_examples=n, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.one_of(of_bytes(), of_lines(), of_keys(), of_files()), min_size=1, max_size=2),
        st.sampled_from(["", "page"]),
        st.sampled_from(["", "kind"]),
    )
    def damaged(damages: list[Damage], group: str, stratum: str) -> None:
        files = dict(GOOD)
        for damage in damages:
            damage(files)
        tried[outcome(files, group, stratum) if files != GOOD else "whole"] += 1

    damaged()
    counts = f"{tried.total()} malformed inputs tried, {tried['refused']} refused, {tried['read']} read"
    with capsys.disabled():
        print(f"\nbeir: {counts}")  # noqa: T201
    assert tried["refused"] >= n * 2 // 3
    assert tried["read"] >= n // 30


def test_the_undamaged_folder_is_read() -> None:
    """The fuzz test's input is valid before it is damaged."""
    assert outcome(dict(GOOD), "page", "kind") == "read"
