"""The general texts are as their README says: enough, valid, different, and the probe shares none with training."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from attune.evaluation.probe import LabelledData, RetrievalData, SimilarityData, read_task
from attune.tuning.general_text import read_general_text

GENERAL = Path(__file__).resolve().parents[2] / "data" / "general"
PROBE = ("retrieval", "similarity", "classification")
TWIN = 0.62  # "What is the difference between ... and ...?" alone gives two questions .6


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GENERAL / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def texts(*names: str) -> list[str]:
    return [value for name in names for record in records(name) for key, value in record.items() if key in TEXT_KEYS]


TEXT_KEYS = ("query", "passage", "first", "second", "text")


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def twins(ours: list[str], theirs: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of texts whose words are nearly the same."""
    known = [(text, words(text)) for text in theirs]
    for text in ours:
        own = words(text)
        for other, its in known:
            if len(own & its) > TWIN * len(own | its):
                yield text, other


def test_there_are_enough_pairs_to_tell_encoders_apart() -> None:
    """At least 300 questions and passages, 300 graded pairs, 8 classes of 40."""
    retrieval = read_task("retrieval", GENERAL / "retrieval.jsonl", 1)
    assert isinstance(retrieval, RetrievalData)
    assert len(retrieval.queries) == len(retrieval.documents) == len(retrieval.judgments) >= 300
    similarity = read_task("similarity", GENERAL / "similarity.jsonl", 1)
    assert isinstance(similarity, SimilarityData) and len(similarity.scores) >= 300
    topics = read_task("classification", GENERAL / "classification.jsonl", 40)
    assert isinstance(topics, LabelledData) and len(set(topics.labels)) == 8
    halves = read_general_text(GENERAL / "practice.jsonl")
    assert min(len(halves.train), len(halves.evaluation)) >= 100


def test_labels_are_balanced_and_grades_spread() -> None:
    """Guessing the most frequent label is right in an eighth; no grade of the eleven is rare."""
    labels = Counter(record["label"] for record in records("classification"))
    assert len(set(labels.values())) == 1
    grades = Counter(record["score"] for record in records("similarity"))
    assert set(grades) == {half / 2 for half in range(11)}
    assert min(grades.values()) >= 20


def test_no_text_is_there_twice() -> None:
    """Within a file and across them, whatever its case and punctuation."""
    counts = Counter(" ".join(re.findall(r"\w+", text.casefold())) for text in texts(*PROBE, "practice"))
    assert [text for text, n in counts.items() if n > 1] == []


@pytest.mark.parametrize("name", PROBE)
def test_no_text_of_the_probe_is_near_one_that_training_sees(name: str) -> None:
    """Probe and practice texts share no near-duplicates."""
    assert list(twins(texts(name), texts("practice"))) == []


def test_tasks_of_the_probe_share_no_near_duplicates() -> None:
    """Each task is independent of the others."""
    for one, other in combinations(PROBE, 2):
        assert list(twins(texts(one), texts(other))) == []


def test_the_twin_test_can_fail() -> None:
    """A text of the probe with another first word is found among the practice texts."""
    passage = records("practice")[0]["passage"]
    assert list(twins([f"Well, {passage}"], texts("practice"))) == [(f"Well, {passage}", passage)]


def test_texts_are_written_and_not_made_from_templates() -> None:
    """No two words open more than 4% of the texts of a file; lengths vary."""
    for name in (*PROBE, "practice"):
        own = texts(name)
        openings = Counter(tuple(re.findall(r"\w+", text.casefold())[:2]) for text in own)
        assert openings.most_common(1)[0][1] <= 0.04 * len(own), openings.most_common(1)
        assert len({len(text.split()) for text in own}) >= 12


def test_the_readme_has_the_counts() -> None:
    """One row for each file, with its number of records."""
    page = (GENERAL / "README.md").read_text(encoding="utf-8")
    for name in (*PROBE, "practice"):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}.jsonl`")]
        assert re.split(r"[ ,]", row.split(" | ")[2])[0] == str(len(records(name)))
