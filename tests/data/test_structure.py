"""Queries from structure are removed from their documents, with all repetitions; nothing else is lost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data.sources.documents import Entry
from attune.data.sources.generated.structure import QueryRules, queries_from_structure
from attune.data.sources.raw import Document, Qrel, Query, RawData

RULES = QueryRules(min_query_words=3, max_query_words=12, max_documents_per_query=2)
BODY = "It all begins with a seed. Water it well."


def entry(title: str, text: str, heading: str | None = None, is_markdown: bool = False, name: str = "d") -> Entry:
    return Entry(Document(name, title, text), title if heading is None else heading, is_markdown)


def made(one: Entry, rules: QueryRules = RULES) -> tuple[str, str, str]:
    """The query that a document gives, or "", and what is left of its title and text."""
    raw = queries_from_structure([one], rules)
    _, title, text = raw.documents[0]
    return raw.queries[0].text if raw.queries else "", title, text


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (entry("How plants grow", BODY), ("How plants grow", "", BODY)),
        (entry("", BODY), ("It all begins with a seed", "", "Water it well.")),
        # too short a title stays, and the sentence is asked
        (entry("Plants", BODY), ("It all begins with a seed", "Plants", "Water it well.")),
        (
            entry(" ".join("abcdefghijklm"), BODY),
            ("It all begins with a seed", "a b c d e f g h i j k l m", "Water it well."),
        ),
        # of a path of headings the last is asked, the others stay
        (entry("Biology > How plants grow", BODY, "How plants grow"), ("How plants grow", "Biology", BODY)),
        (entry("How plants grow > How plants grow", BODY, "How plants grow"), ("How plants grow", "", BODY)),
        (entry("A > How plants grow > B C D", BODY, "B C D"), ("B C D", "A > How plants grow", BODY)),
        # the number of a section is not asked, but stays the number of a thing
        (entry("A > 3.4 How plants grow", BODY, "3.4 How plants grow", True), ("How plants grow", "A", BODY)),
        (entry("3 ways to grow", BODY, is_markdown=True), ("3 ways to grow", "", BODY)),
        # a title that holds an angle is no path
        (entry("Why is x > y here", BODY), ("Why is x > y here", "", BODY)),
        # repetitions go too, whatever their case and space
        (
            entry("How plants grow", "How plants grow. It begins. HOW  plants\ngrow? Water, how plants grow, and sun."),
            ("How plants grow", "", "It begins.   Water,  , and sun."),
        ),
        (
            entry("How plants grow?", "How plants grow: with water and sun."),
            ("How plants grow?", "", "with water and sun."),
        ),
        # but not parts of other words
        (entry("how plants grow", "Show plants grow, if any."), ("how plants grow", "", "Show plants grow, if any.")),
        (entry("how plants grow", "And how plants grown die."), ("how plants grow", "", "And how plants grown die.")),
        # what closes up to the same words again
        (
            entry("how plants grow", "See how plants how plants grow grow in here now."),
            ("how plants grow", "", "See   in here now."),
        ),
        (
            entry("It all begins with a seed", "It all begins with a seed. Water it well."),
            ("It all begins with a seed", "", "Water it well."),
        ),
        # a title that says the same as the sentence which is asked
        (
            entry("Seeds > It all begins with a seed > No", BODY, "No"),
            ("It all begins with a seed", "Seeds > No", "Water it well."),
        ),
        # emphasis, links and quotation marks hide no words
        (
            entry("Ways to reset it’s clock", "Ways to **reset** it's [clock] are these: press both knobs."),
            ("Ways to reset it’s clock", "", "] are these: press both knobs."),
        ),
        # what cannot be taken out is not asked
        (
            entry("Straße im Süden öffnen", "STRASSE IM SÜDEN ÖFFNEN ist gut! Oder auch nicht so sehr."),
            ("STRASSE IM SÜDEN ÖFFNEN ist gut!", "Straße im Süden öffnen", "Oder auch nicht so sehr."),
        ),
        (entry("", "植物はどう育つか。水と光が要る。"), ("植物はどう育つか", "", "水と光が要る。")),
        (entry("植物の育て方", "植物の育て方は水と光である"), ("植物の育て方", "", "は水と光である")),
    ],
)
def test_a_query_is_removed_from_its_document(one: Entry, expected: tuple[str, str, str]) -> None:
    """From title and text, with all repetitions, and nothing else."""
    assert made(one) == expected


def test_a_heading_as_query_leaves_the_titles_of_its_subsections() -> None:
    """It would otherwise retrieve them, and none of them is judged relevant."""
    asked = entry("Shop > 2. How to return a thing", BODY, "2. How to return a thing", True, "a#1")
    below = entry("Shop > 2. How to return a thing > Refunds", BODY, "Refunds", True, "a#2")
    raw = queries_from_structure([asked, below, entry("Shop > Else", BODY, "Else", True, "a#3")], RULES)
    assert [document.title for document in raw.documents] == ["Shop", "Shop > Refunds", "Shop > Else"]
    assert raw.queries[0].text == "How to return a thing"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("See e.g. Smith et al. Dr. A. Brown said so in No. 5 of it. Next one comes here.", "said so in No. 5 of it"),
        ("What is version 3.5 about? It is about speed.", "What is version 3.5 about?"),
        ('He said "stop it now." Then he left the room.', 'He said "stop it now."'),
        ("A paragraph without a stop\n\nThe next paragraph is here.", "A paragraph without a stop"),
        ("wrapped over\ntwo lines. The next one comes here.", "wrapped over two lines"),
        ("It goes on ... and on. The next one comes here.", "It goes on ... and on"),
    ],
)
def test_sentences_end_at_full_stops_and_not_at_abbreviations(text: str, sentence: str) -> None:
    """In several scripts, with quotes and brackets."""
    query, _, rest = made(entry("", text), QueryRules(3, 30, 2))
    assert query.endswith(sentence)
    assert rest.startswith(("Next", "It is", "Then", "The next"))


@pytest.mark.parametrize(
    "start", ["```sh\nls\n```", "| a | b |", "<p>", "- item one", "1. item one", "> said", "![x](y.png)"]
)
def test_code_tables_and_lists_make_no_query(start: str) -> None:
    """The document stays, and its flaw is counted."""
    one = entry("", f"{start} and four words more. The rest is here to be found.", is_markdown=True)
    raw = queries_from_structure([one], RULES)
    assert (raw.documents, raw.queries) == ([one.document], [])
    assert raw.dropped == {"query_no_prose": 1}


def test_a_sentence_in_markdown_is_a_query_without_markup() -> None:
    """Neither its plain words nor its markup remain in the document."""
    text = "Call the [**server**](http://x.y) with `fit`. Then wait a while. Call the server with fit."
    assert made(entry("", text, is_markdown=True)) == ("Call the server with fit", "", "Then wait a while.")


@pytest.mark.parametrize(
    ("one", "flaw"),
    [
        (entry("", "Too short. The rest is long enough for it."), "short"),
        (entry("", f"{'long ' * 13}. The rest is long enough for it."), "long"),
        (entry("", "1 2 3 4 5. The rest is long enough for it."), "no_prose"),
        (entry("How plants grow", "With water."), "leaves_too_little"),
        (entry("How plants grow", "How plants grow! How plants grow? How plants grow."), "leaves_too_little"),
        (entry("How plants grow", ""), "leaves_too_little"),
        (entry("", "Only one sentence is in here"), "leaves_too_little"),
        (entry("", ""), "no_prose"),
        (entry(" ", "?"), "no_prose"),
    ],
)
def test_a_document_without_a_good_query_is_kept_and_counted(one: Entry, flaw: str) -> None:
    """Unchanged, under the reason of its first candidate."""
    raw = queries_from_structure([one], RULES)
    assert (raw.documents, raw.queries, raw.qrels) == ([one.document], [], {"all": []})
    assert raw.dropped == {f"query_{flaw}": 1}


def test_a_query_of_many_documents_is_too_general() -> None:
    """Three sections have one heading: the first sentence is the query instead, if it is good."""
    texts = [
        "First of them all. The rest is here.",
        "Second of them all. The rest is here.",
        "Short. The rest is here.",
    ]
    three = [entry("How to begin", text, name=str(n)) for n, text in enumerate(texts)]
    three[1] = three[1]._replace(document=three[1].document._replace(title="HOW to  begin"), heading="HOW to  begin")
    raw = queries_from_structure(three, RULES)
    assert [query.text for query in raw.queries] == ["First of them all", "Second of them all"]
    assert raw.documents[2] == three[2].document and raw.documents[0].title == "How to begin"
    assert raw.dropped == {"query_generic": 1}
    two = queries_from_structure(three[:2], RULES)
    assert [query.text for query in two.queries] == ["How to begin", "HOW to begin"]


def test_ids_order_groups_and_judgments() -> None:
    """Documents keep their ids and order; each query has its document, its group and its stratum."""
    one = Entry(Document("b.md#1", "How plants grow", BODY), "How plants grow", True, "b.md", "s")
    two = entry("No", "No.", name="a")
    assert queries_from_structure([one, two], RULES) == RawData(
        documents=[Document("b.md#1", "", BODY), two.document],
        queries=[Query("b.md#1#query", "How plants grow", "b.md", "s")],
        qrels={"all": [Qrel("b.md#1#query", "b.md#1", 1)]},
        dropped=queries_from_structure([two], RULES).dropped,
    )


WORDS = st.sampled_from(
    ["a", "A", "b", "seed", "Seed", "grow", "x.", "y?", "z!", ">", "東", "é", "(c)", "\n\n", "\n", "  ", "-"]
)
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=3))
def test_no_document_holds_its_query(rows: list[tuple[str, str, bool]]) -> None:
    """For any texts, case and space set aside; and no document is lost."""
    entries = [entry(title, text, None, md, str(n)) for n, (title, text, md) in enumerate(rows)]
    raw = queries_from_structure(entries, QueryRules(1, 12, 9))
    assert [document.document_id for document in raw.documents] == [str(n) for n in range(len(rows))]
    assert len(raw.queries) + raw.dropped.total() == len(rows)
    documents = {document.document_id: document for document in raw.documents}
    for query, qrel in zip(raw.queries, raw.qrels["all"], strict=True):
        asked = re.sub(r"^\W+|\W+$", "", " ".join(query.text.lower().split()))
        for part in documents[qrel.document_id][1:]:
            left = " ".join(part.lower().split())
            assert not re.search(rf"(?<![a-zé]){re.escape(asked)}(?![a-zé])", left), (query, part)
