"""Table of planted leaks, kind by role: which rule of the audit by words finds each, under either protocol.

Leaks by meaning, through documents' other forms, and documents that are equal as far as the encoder reads, are planted
in the test of stage audit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from unicodedata import normalize

import polars as pl
import pytest

from attune.data.splitting.kinds import audited
from attune.data.splitting.leaks import NearDuplicates
from attune.data.splitting.lexical_audit import audit_splits
from attune.tables import LEXICAL, QRELS, Leak

NEAR = NearDuplicates(query_shingle=1, document_shingle=5, similar_query=0.8, similar_document=0.7)


@dataclass(frozen=True)
class Pair:
    """A query and its relevant document, with or without a title."""

    query: str
    document: str
    title: str = ""


QUESTION = "how do I reset the password of my account when the old one is lost"
ANSWER = " ".join(f"answer{i}" for i in range(40))
TRAIN = Pair(QUESTION, ANSWER)
OTHER_QUESTION, OTHER_ANSWER = "which colours does the lamp have", " ".join(f"lamp{i}" for i in range(40))
GERMAN = Pair(
    "wie kann ich die Tür öffnen", "Die Tür öffnen Sie früh am Morgen mit dem größten Schlüssel, über Kühlräume."
)
CHINESE = Pair("我的手机怎么退货和换货", "关于手机退货的说明：请先联系客服，然后按照步骤完成退货，手机会在三天内处理。")
QUERY_KINDS, DOCUMENT_KINDS = {"exact_queries", "near_queries"}, {"exact_documents", "near_documents"}

# kind: what train knows, what test holds, the rules that must find it, and no other
PLANTED: Mapping[str, tuple[Pair, Pair, set[str]]] = {
    "exact query": (TRAIN, Pair(QUESTION.upper() + "?", OTHER_ANSWER), QUERY_KINDS),
    "exact document": (TRAIN, Pair(OTHER_QUESTION, ANSWER.upper() + "."), DOCUMENT_KINDS),
    "near query": (TRAIN, Pair(QUESTION + " again", OTHER_ANSWER), {"near_queries"}),
    "near document": (TRAIN, Pair(OTHER_QUESTION, ANSWER.replace("answer39", "another")), {"near_documents"}),
    "query from a template": (
        Pair("What is the price of item number 17 in the spring catalogue of 2020?", ANSWER),
        Pair("What is the price of item number 18 in the spring catalogue of 2020?", OTHER_ANSWER),
        {"near_queries"},
    ),
    "document from a template": (
        Pair(QUESTION, f"{ANSWER} This is the record of station 17."),
        Pair(OTHER_QUESTION, f"{ANSWER} This is the record of station 18."),
        {"near_documents"},
    ),
    "pair turned round": (
        Pair("colours of the lamp", "shades in which we sell it"),
        Pair("shades in which we sell it", "colours of the lamp"),
        {"crossed_queries", "crossed_documents"},
    ),
    "chain": (
        Pair("colours of the lamp", "shades in which we sell it"),
        Pair("Shades in which we sell it?", "hues on offer"),
        {"crossed_queries"},
    ),
    "chain backwards": (
        Pair("shades in which we sell it", "hues on offer"),
        Pair("colours of the lamp", "Shades in which we sell it"),
        {"crossed_documents"},
    ),
    "chain of nearly equal texts": (
        Pair("colours of the lamp", QUESTION + " again"),
        Pair(QUESTION, "hues on offer"),
        {"crossed_queries"},
    ),
    "body of a titled document": (
        Pair("colours of the lamp", "shades in which we sell it", "Catalogue of autumn"),
        Pair("Shades in which we sell it?", OTHER_ANSWER),
        {"crossed_queries"},
    ),
    "body of a titled document, backwards": (
        Pair("shades in which we sell it", ANSWER),
        Pair("colours of the lamp", "Shades in which we sell it.", "Catalogue of autumn"),
        {"crossed_documents"},
    ),
    "nearly the body of a titled document": (
        Pair("colours of the lamp", QUESTION + " again", "Catalogue of autumn"),
        Pair(QUESTION, OTHER_ANSWER),
        {"crossed_queries"},
    ),
    "title and body together": (
        Pair("colours of the lamp", "of blue and green", "Lamp shades"),
        Pair("lamp shades of blue and green", OTHER_ANSWER),
        {"crossed_queries"},
    ),
    "symbols turned round": (Pair("name of this symbol", "->"), Pair("->", "an arrow"), {"crossed_queries"}),
    "decomposed query": (GERMAN, Pair(normalize("NFD", GERMAN.query), OTHER_ANSWER), QUERY_KINDS),
    "decomposed document": (GERMAN, Pair(OTHER_QUESTION, normalize("NFD", GERMAN.document)), DOCUMENT_KINDS),
    "full-width query": (Pair("reset ABC 123", ANSWER), Pair("ｒｅｓｅｔ ＡＢＣ １２３", OTHER_ANSWER), QUERY_KINDS),
    "Chinese near query": (CHINESE, Pair(CHINESE.query.replace("我", "你"), OTHER_ANSWER), {"near_queries"}),
    "Chinese near document": (
        CHINESE,
        Pair(OTHER_QUESTION, CHINESE.document.replace("三天", "五天")),
        {"near_documents"},
    ),
    "Chinese chain": (CHINESE, Pair(CHINESE.document, OTHER_ANSWER), {"crossed_queries"}),
    "Hindi near query": (
        Pair("मैं अपना पासवर्ड कैसे बदलूं", ANSWER),
        Pair("मैं अपना पासवर्ड कैसे बदलूं जी", OTHER_ANSWER),
        {"near_queries"},
    ),
    "none": (TRAIN, Pair(OTHER_QUESTION, OTHER_ANSWER), set()),
    "none, nearly a title": (Pair(OTHER_QUESTION, ANSWER, QUESTION), Pair(QUESTION + " again", OTHER_ANSWER), set()),
    "none, Hindi words of the same letters": (
        Pair("काला पानी", ANSWER),
        Pair("कल पुनः", OTHER_ANSWER),
        set(),
    ),
    "none, a word of four changed": (
        Pair("price of the lamp", ANSWER),
        Pair("price of the table", OTHER_ANSWER),
        set(),
    ),
}


def found(train: Pair, test: Pair, split: str, by: str) -> set[str]:
    """The kinds of leaks of `split` when it holds one pair and train the other; each names the planted texts."""
    queries = pl.DataFrame(
        {"query_id": ["known", "leaking"], "text": [train.query, test.query], "split": ["train", split]}
    )
    corpus = pl.DataFrame(
        {
            "document_id": ["known_answer", "leaking_answer"],
            "title": [train.title, test.title],
            "text": [train.document, test.document],
            "split": ["train", split],
        }
    )
    qrels = pl.DataFrame([("known", "known_answer", 1), ("leaking", "leaking_answer", 1)], QRELS, orient="row")
    leaks, sizes = audit_splits(corpus, queries, qrels, NEAR, by)
    assert {key: n for key, n in sizes.items() if n} == {
        f"{what}.{name}": 1 for what in ("queries", "documents") for name in ("train", split)
    }
    for leak in leaks:
        of_query = leak.kind.endswith("queries")
        assert leak.split == split
        assert leak.leaked_id == ("leaking" if of_query else "leaking_answer")
        assert leak.match_id == ("known" if of_query != leak.kind.startswith("crossed") else "known_answer")
        assert leak.similarity == 1 or not leak.kind.startswith("exact")
    return {leak.kind for leak in leaks}


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("kind", PLANTED)
def test_each_planted_leak_is_found_by_its_rules_and_by_no_other(kind: str, split: str) -> None:
    """By cluster all rules count; by query those of queries alone, and a document that is shared is none."""
    train, test, rules = PLANTED[kind]
    assert found(train, test, split, "cluster") == rules
    assert found(train, test, split, "query") == {rule for rule in rules if rule.endswith("queries")}


def test_a_shared_document_is_a_leak_by_cluster_alone() -> None:
    """The same id on both sides."""
    queries = pl.DataFrame({"query_id": ["a", "b"], "text": [QUESTION, OTHER_QUESTION], "split": ["train", "test"]})
    corpus = pl.DataFrame({"document_id": ["d"], "title": ["T"], "text": [ANSWER], "split": ["test"]})
    qrels = pl.DataFrame([("a", "d", 1), ("b", "d", 1)], QRELS, orient="row")
    by_cluster, _ = audit_splits(corpus, queries, qrels, NEAR)
    assert [leak.kind for leak in by_cluster] == ["shared_documents", "exact_documents", "near_documents"]
    assert audit_splits(corpus, queries, qrels, NEAR, "query")[0] == []


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_query_that_is_a_title_of_the_other_side_is_a_leak_by_cluster_alone(split: str) -> None:
    """By query documents are known, and so are their titles; near titles name the same topic and are no leak."""
    known, asked = Pair(OTHER_QUESTION, ANSWER, QUESTION.upper()), Pair(QUESTION, OTHER_ANSWER)
    titled = Pair(OTHER_QUESTION, OTHER_ANSWER, QUESTION)
    assert found(known, asked, split, "cluster") == {"crossed_queries"}
    assert found(TRAIN, titled, split, "cluster") == {"crossed_documents"}
    assert found(known, asked, split, "query") == found(TRAIN, titled, split, "query") == set()


def test_a_document_that_leaks_in_several_readings_is_listed_once() -> None:
    """By its most similar one: with the title of one word eleven words of twelve are the query's, without it all."""
    words = " ".join(f"word{i}" for i in range(11))
    corpus = {"document_id": ["d", "e"], "title": ["Lamps", ""], "text": [words, OTHER_ANSWER]}
    qrels = pl.DataFrame([("a", "d", 1), ("b", "e", 1)], QRELS, orient="row")
    for query, answer, kind in (("a", "b", "crossed_queries"), ("b", "a", "crossed_documents")):
        texts = {"a": OTHER_QUESTION, "b": words}
        split_of = {query: "train", answer: "test"}
        queries = {"query_id": ["a", "b"], "text": [texts["a"], texts["b"]], "split": [split_of["a"], split_of["b"]]}
        leaks, _ = audit_splits(pl.DataFrame(corpus), pl.DataFrame(queries), qrels, NEAR)
        leaked, match = ("b", "d") if kind == "crossed_queries" else ("d", "b")
        assert leaks == [Leak("test", kind, leaked, match, 1.0)]


def test_every_rule_is_planted_and_the_protocols_share_no_other() -> None:
    """A kind of leak without a row in this table could read 0 for ever."""
    planted = {rule for _, _, rules in PLANTED.values() for rule in rules} | {"shared_documents"}
    assert planted == set(LEXICAL) == set(audited(LEXICAL, "cluster"))
    assert set(audited(LEXICAL, "query")) == {kind for kind in LEXICAL if kind.endswith("queries")}
