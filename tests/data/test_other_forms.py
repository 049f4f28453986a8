"""Leaks through documents' other forms: copied docstrings over unlike code, and no others."""

import pytest

from attune.data.splitting.other_forms import form_leaks
from attune.tables import Leak

WORDS = " ".join(f"word{i}" for i in range(30))
NEARLY = WORDS.replace("word29", "another")  # 25 of 27 shingles of five words


def code(name: str) -> str:
    """The text of a function that shares no shingle with another's."""
    return " ".join(f"{name}{i}" for i in range(30))


IDS = ("train", "unjudged", "dev", "test", "other_test")
TEXTS = {id_: code(id_) for id_ in IDS}
RELEVANT = {"train": {"train"}, "dev": {"dev"}, "test": {"test", "other_test"}}
READ = {"train": {"train", "unjudged"}, "dev": {"dev"}, "test": {"test", "other_test"}}


def found(forms: dict[str, str], texts: dict[str, str] = TEXTS) -> list[Leak]:
    return form_leaks(texts, forms, RELEVANT, READ, 5, 0.7)


@pytest.mark.parametrize(("name", "seen"), [("test", "train"), ("test", "dev"), ("dev", "train"), ("test", "unjudged")])
def test_a_copied_docstring_over_other_code_is_found(name: str, seen: str) -> None:
    """In a document that training may read, judged or not; test is compared with dev, too."""
    assert found({name: WORDS, seen: NEARLY}) == [Leak(name, "near_forms", name, seen, pytest.approx(25 / 27))]


def test_a_form_is_compared_with_documents_and_a_document_with_forms() -> None:
    """A test document's form that is train's text, and a test document's text that is train's form."""
    texts = TEXTS | {"train": WORDS}
    assert found({"test": WORDS}, texts) == [Leak("test", "near_forms", "test", "train", 1.0)]
    texts = TEXTS | {"test": WORDS}
    assert found({"train": WORDS}, texts) == [Leak("test", "near_forms", "test", "train", 1.0)]


def test_texts_that_are_alike_without_their_forms_are_no_leak_of_this_kind() -> None:
    """They are near_documents; forms of documents of one split, and of no like text, are none either."""
    assert found({"train": code("x")}, TEXTS | {"train": WORDS, "test": WORDS}) == []
    assert found({"test": WORDS, "other_test": WORDS, "train": code("y")}) == []
    assert found({}) == []


def test_a_document_is_listed_once_with_its_most_similar_match() -> None:
    """Its form is nearly train's form, and equals dev's text."""
    texts = TEXTS | {"dev": WORDS}
    assert found({"test": WORDS, "train": NEARLY, "other_test": code("z")}, texts) == [
        Leak("dev", "near_forms", "dev", "train", pytest.approx(25 / 27)),
        Leak("test", "near_forms", "test", "dev", 1.0),
    ]


def test_a_document_that_train_has_itself_is_a_shared_one() -> None:
    """Where documents are in several given splits, their own forms say nothing new."""
    relevant = RELEVANT | {"test": {"train"}}
    assert form_leaks(TEXTS, {"train": WORDS, "unjudged": WORDS}, relevant, READ, 5, 0.7) == []
