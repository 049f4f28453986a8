"""Tables of pairs that are broken on purpose, a thousand in all formats: each is read, or refused with clear lines.

`make test-slow` tries a thousand of each format.
"""

import gzip
import io
import math
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_tables import columns, encode, table

from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.pairs import read_pairs
from attune.errors import SHOWN, BadInput

GOOD = table(
    "q|d|k|i|t|rel|g|s|p|n",
    'how "so"?|because, of|1|10|A|1|G|S|train|no',
    "why?|é 漢|2|11||2.0|H|S|test|because, of",
    'how "so"?|\'tis|1|12|C|0|G|S|train|other',
)
ALL = {"query_id": "k", "document_id": "i", "title": "t", "relevance": "rel", "group": "g", "stratum": "s"}
EVERY = columns(split="p", negatives=["n"], **ALL)
CHOSEN = st.sampled_from([EVERY, columns(), columns(negatives=["n", "t"]), columns(document_id="i", split="p")])
MARKS = [bytes([mark]) for mark in b'",\t\n\r\0\xff\xc3{}[]\\-\x1a']
PIECES = [*MARKS, b'""', b"\r\n", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\\ud800", b"NaN", b"1e999"]
PIECES += [b"9" * 5000, b"[" * 3000, b"a" * 200_000]
TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["", " ", "NaN", "0.5", "-1", "2.0", "1e5", '"', '"a', 'a"b', "a,b", "a\tb", "a\nb", "\r", "\0"]),
    st.sampled_from(["train", "TEST", "val", "nowhere", "1", "10", "because, of", "x" * 140_000, "\ufeff", "\u2028"]),
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["\ud800", 10**400, [[["x"]]], {"a": {"b": 1}}, [None, "b", 3], 1, 10, []]),
    st.lists(TEXTS, max_size=3),
)
TRIED: Counter[str] = Counter()


def spliced(data: st.DataObject, content: bytes) -> bytes:
    """One to three pieces of the bytes replaced."""
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.sampled_from([start, start + 1, start + 7, len(content)]))
        piece = data.draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)))
        content = content[:start] + piece + content[end:]
    return content


def with_cells(data: st.DataObject, form: str) -> bytes:
    """Some cells replaced by whatever the format can write, and some left out."""
    rows = [dict(row) for row in GOOD]
    for _ in range(data.draw(st.integers(1, 3))):
        row, name = data.draw(st.sampled_from(rows)), data.draw(st.sampled_from(list(GOOD[0])))
        if form == "jsonl" and data.draw(st.integers(0, 5)) == 0:
            row.pop(name, None)
        else:
            row[name] = data.draw(VALUES if form == "jsonl" else TEXTS)
    return encode(form, rows).replace(b"\xed", b"\xff") if form != "jsonl" else encode(form, rows)


def with_header(data: st.DataObject, form: str) -> bytes:
    """Columns renamed, doubled, blanked, moved or taken away, with or without their cells."""
    names = list(GOOD[0])
    renamed = [data.draw(st.sampled_from([name, name, name, "", "q", f" {name}", "'", name.upper()])) for name in names]
    order = data.draw(st.permutations(range(len(names))))[: data.draw(st.integers(1, len(names)))]
    if form == "jsonl":
        return encode(form, [{renamed[n]: row[names[n]] for n in order} for row in GOOD])
    separator = data.draw(st.sampled_from([",", "\t", ";", "|"]))
    head = separator.join(renamed[n] for n in order)
    return "\n".join([head, *(separator.join(str(row[names[n]]) for n in order) for row in GOOD)]).encode()


def as_file(data: st.DataObject, content: bytes) -> tuple[bytes, str]:
    """The whole file cut, doubled, in another encoding or packed, and the suffix of its name."""
    how = data.draw(
        st.sampled_from(["none", "none", "none", "cut", "twice", "utf-16", "latin", "cr", "gz", "zst", "not gz"])
    )
    if how in ("gz", "zst"):
        packed = gzip.compress(content) if how == "gz" else pa.Codec("zstd").compress(content, asbytes=True)
        return (spliced(data, packed) if data.draw(st.booleans()) else packed), f".{how}"
    changed = {
        "cut": lambda: content[: data.draw(st.integers(0, len(content)))],
        "twice": lambda: content + content,
        "utf-16": lambda: content.decode(errors="replace").encode("utf-16"),
        "latin": lambda: content.decode(errors="replace").encode("latin-1", errors="replace"),
        "cr": lambda: content.replace(b"\n", b"\r"),
    }
    return changed.get(how, lambda: content)(), ".gz" if how == "not gz" else ""


def odd_column(data: st.DataObject) -> pa.Array:
    """A column of three rows of some type that texts do not have."""
    return data.draw(
        st.sampled_from(
            [
                pa.array([1, 2, 1]),
                pa.array([2**63, 1, 2], pa.uint64()),
                pa.array([1.0, math.nan, 0.5]),
                pa.array([1.0, 2.0, None], pa.float16()),
                pa.array([True, False, None]),
                pa.nulls(3),
                pa.array(["a", "b", "a"]).dictionary_encode(),
                pa.array(["a", None, "c"], pa.large_string()),
                pa.array([b"a", b"\xff", None]),
                pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers()),
                pa.array([["a"], [], None]),
                pa.array([["a", None], ["b"], ["because, of"]], pa.large_list(pa.large_string())),
                pa.array([[["a"]], [], None]),
                pa.array([{"a": 1}, None, {"a": 2}]),
                pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
                pa.array([2**62, 0, -(2**62)], pa.timestamp("ns")),
                pa.array([2**31 - 1, 0, None], pa.date32()),
                pa.array(["train", "test", "train"]),
                pa.array(["x" * 200_000, "\0", "\ufeff"]),
            ]
        )
    )


def odd_parquet(data: st.DataObject) -> bytes:
    """Columns of other types, renamed or doubled columns, other row groups and codecs, flipped or lost bytes."""
    found = {name: pa.array([row[name] for row in GOOD]) for name in GOOD[0]}
    for name in data.draw(st.lists(st.sampled_from(list(found)), max_size=3)):
        found[name] = odd_column(data)
    names = list(found)
    if data.draw(st.integers(0, 7)) == 7:
        names[data.draw(st.integers(0, len(names) - 1))] = data.draw(st.sampled_from(["q", "", "D"]))
    sink = io.BytesIO()
    codec, size = data.draw(st.sampled_from(["snappy", "zstd", "gzip", "none"])), data.draw(st.sampled_from([1, 2, 9]))
    pq.write_table(pa.table(list(found.values()), names), sink, compression=codec, row_group_size=size)
    content = sink.getvalue()
    how = data.draw(st.sampled_from(["none", "splice", "flip", "flip", "flip"]))
    if how == "splice":
        return spliced(data, content)
    for _ in range(data.draw(st.integers(1, 4)) if how == "flip" else 0):
        at = data.draw(st.integers(0, len(content) - 1))
        content = content[:at] + bytes([data.draw(st.integers(0, 255))]) + content[at + 1 :]
    return content


def check(content: bytes, name: str, chosen: ColumnNames) -> None:
    """Reads such a file: sound data, or lines that say where and what."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            raw = read_pairs(path, chosen)
        except BadInput as error:
            assert 1 <= len(error.args) <= SHOWN + 1
            assert all(line.isprintable() for line in map(str, error.args))
            assert all(name in line for line in error.args[:1])
            TRIED[f"{name.split('.')[1]} refused"] += 1
            return
    documents, queries = {d.document_id for d in raw.documents}, {q.query_id for q in raw.queries}
    judged = [qrel for qrels in raw.qrels.values() for qrel in qrels]
    assert len(documents) == len(raw.documents)
    assert len(queries) == len(raw.queries)
    assert len({qrel[:2] for qrel in judged}) == len(judged)
    assert {qrel.document_id for qrel in judged} <= documents
    assert {qrel.query_id for qrel in judged if qrel.relevance} == queries
    assert all(row.text.strip() == row.text != "" for row in (*raw.documents, *raw.queries))
    TRIED[f"{name.split('.')[1]} read"] += 1


# a few are stopped before they end because they drew too much
AMOUNTS = [pytest.param(260, id="some"), pytest.param(1_050, id="all", marks=pytest.mark.slow)]


def malformed(n: int) -> settings:
    return settings(max_examples=n, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("n", AMOUNTS)
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_malformed_text_files_are_read_or_refused(form: str, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes, cells, header and file broken, alone and together."""
    before = sum(TRIED.values())

    @malformed(n)
    @given(st.data(), CHOSEN)
    def attempt(data: st.DataObject, chosen: ColumnNames) -> None:
        how = data.draw(st.sampled_from(["bytes", "cells", "cells", "header", "file"]))
        content = {"cells": with_cells, "header": with_header}.get(how, lambda _, form: encode(form, GOOD))(data, form)
        if how == "bytes":
            content = spliced(data, content)
        content, packed = as_file(data, content)
        check(content, f"t.{form}{packed}", chosen)

    attempt()
    report(form, n, sum(TRIED.values()) - before, capsys)


@pytest.mark.parametrize("n", AMOUNTS)
def test_malformed_parquet_files_are_read_or_refused(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Other types, other columns, and bytes flipped or lost."""
    before = sum(TRIED.values())

    @malformed(n)
    @given(st.data(), CHOSEN)
    def attempt(data: st.DataObject, chosen: ColumnNames) -> None:
        check(odd_parquet(data), "t.parquet", chosen)

    attempt()
    report("parquet", n, sum(TRIED.values()) - before, capsys)


def report(form: str, n: int, n_tried: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints how many were tried, and checks that enough were, of both kinds."""
    refused, read_ = TRIED[f"{form} refused"], TRIED[f"{form} read"]
    with capsys.disabled():
        print(f"\n{form}: {n_tried} malformed inputs tried, {refused} refused, {read_} read")  # noqa: T201
    assert n_tried >= 0.95 * n
    assert min(refused, read_) >= n // 10
