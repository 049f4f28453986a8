"""Queries for a corpus without any: extracted from a model's answers and filtered, or made from structure."""

from pathlib import Path

import pytest
from chat_server import Model, loopback, says, settings

from attune.data.sources.documents import Entry
from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.generated.generate import collect_documents, queries_from_endpoint, query_in
from attune.data.sources.generated.structure import QueryRules
from attune.data.sources.raw import Document, Qrel, Query

RULES = QueryRules(min_query_words=2, max_query_words=8, max_documents_per_query=2)

pytestmark = pytest.mark.usefixtures("loopback")
__all__ = ["loopback"]


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("how to fit", "how to fit"),
        ('"how to fit?"\n', "how to fit?"),
        ("Query: how to fit", "how to fit"),
        ("**Search query:** “how to fit”", "how to fit"),
        ("Question 1: 'how to fit'", "how to fit"),
        ("1. how to fit\n2. how to run", "how to fit"),
        ("\n\n- how  to\tfit\nbecause", "how to fit"),
        ("Here is a query:\n\nhow to fit", "how to fit"),
        ("Query:\nhow to fit", "how to fit"),
        ("<think>Query: no\nhm</think>\n\nhow to fit", "how to fit"),
        ("<think>no end", ""),
        ("how to\x00 fit\x1b", "how to fit"),
        ("3.5 liters in gallons", "3.5 liters in gallons"),
        ("query planner in databases", "query planner in databases"),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_a_query_is_taken_out_of_an_answer(answer: str, query: str) -> None:
    """Without reasoning, labels, numbers, quotes, emphasis and control characters; the first line that is a query."""
    assert query_in(answer) == query


def test_only_queries_that_find_their_document_are_kept(tmp_path: Path) -> None:
    """Every reason to drop a query once; no document is dropped or changed."""
    answers = {
        "apples are red and sweet fruit": "which fruit is red and sweet",
        "pears. Their skin is green": "their skin is green",
        "plums grow on trees": "apples",
        "grapes grow on vines": "one two three four five six seven eight nine",
        "figs are old": "",
        "cherries are small red fruit": "red sweet fruit",  # finds the apples
        "dates from palms": "some fruit",
        "melons from fields": "Some fruit",
        "kiwis from trees": "some FRUIT",
        "limes are sour": "Query: what is sour",
    }
    documents = [Document(f"d{i}", "", text) for i, text in enumerate(answers)]
    entries = [Entry(document, group=f"g{i}", stratum="s") for i, document in enumerate(documents)]
    with Model(lambda n, body: says(answers[body["messages"][0]["content"]])).serving() as model:
        raw = queries_from_endpoint(entries, RULES, settings(tmp_path, model.url, prompt="{text}"))
    assert raw.documents == documents
    assert raw.queries == [
        Query("d0#query", "which fruit is red and sweet", "g0", "s"),
        Query("d9#query", "what is sour", "g9", "s"),
    ]
    assert raw.qrels == {"all": [Qrel("d0#query", "d0", 1), Qrel("d9#query", "d9", 1)]}
    assert raw.dropped == {
        "query_copied": 1,
        "query_short": 1,
        "query_long": 1,
        "query_empty": 1,
        "query_not_found_again": 1,
        "query_generic": 3,
    }
    assert raw.facts == {"endpoint_model": "small"}


def test_a_larger_found_within_keeps_more_queries(tmp_path: Path) -> None:
    """A query that ranks its document second is kept from found_within 2 on."""
    documents = [Document("a", "", "red sweet fruit red"), Document("b", "", "red cherries, small fruit of some trees")]
    with Model(lambda n, body: says("red fruit please")).serving() as model:
        runs = [
            queries_from_endpoint([Entry(d) for d in documents], RULES, settings(tmp_path, model.url, found_within=k))
            for k in (1, 2)
        ]
    assert [[q.query_id for q in run.queries] for run in runs] == [["a#query"], ["a#query", "b#query"]]


def test_a_folder_becomes_data_from_structure_or_endpoint(tmp_path: Path) -> None:
    """Equal with and without cache and for any n_parallel; max_documents draws documents by their ids."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.txt").write_text(f"Sentence about word{i} here. The rest of text word{i} is this.")
    (folder / "empty.txt").write_text("")
    columns = ColumnNames(
        query="",
        document="",
        title="",
        negatives=[],
        relevance="",
        query_id="",
        document_id="",
        group="",
        stratum="",
        split="",
    )
    rules = QueryRules(2, 20, 2)
    with Model(lambda n, body: says(f"tell of {body['messages'][0]['content'].split()[2]} please")).serving() as model:
        run = settings(tmp_path, model.url, prompt="{text}")
        other = settings(tmp_path / "other", model.url, prompt="{text}", n_parallel=1)
        first, again, fresh = (collect_documents(folder, columns, "endpoint", rules, e, 0) for e in (run, run, other))
        assert first == again == fresh and len(first.queries) == 12 and len(model.requests) == 24
        some = collect_documents(folder, columns, "endpoint", rules, other, 5)
    assert len(some.documents) == 5 and set(some.documents) < set(first.documents) and len(model.requests) == 24
    assert first.dropped == {"document_blank": 1}
    plain = collect_documents(folder, columns, "structure", rules, run, 0)
    assert [query.text for query in plain.queries][:2] == ["Sentence about word0 here", "Sentence about word1 here"]
    assert plain.documents[0] == Document("0.txt", "", "The rest of text word0 is this.")
