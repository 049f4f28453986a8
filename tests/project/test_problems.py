"""Problems of a data set are gathered: the first 20 are shown in full, all are counted."""

import pytest

from attune.errors import BadInput, Problems


def test_without_a_problem_nothing_is_raised() -> None:
    """check() returns."""
    Problems().check()


def test_one_problem_is_one_line() -> None:
    """Place and problem, without a count."""
    problems = Problems()
    problems.add("corpus.jsonl:3", "too short")
    with pytest.raises(BadInput) as caught:
        problems.check()
    assert str(caught.value) == "corpus.jsonl:3: too short"


def test_twenty_problems_are_all_shown_and_counted() -> None:
    """A line each, and a last one with their number."""
    problems = Problems()
    for number in range(1, 21):
        problems.add(f"f:{number}", "bad")
    with pytest.raises(BadInput) as caught:
        problems.check()
    assert str(caught.value).split("\n") == [*(f"f:{number}: bad" for number in range(1, 21)), "20 problems"]


def test_of_more_the_first_twenty_are_shown_and_all_counted() -> None:
    """The last line says that some are left out."""
    problems = Problems()
    for number in range(1, 1001):
        problems.add(f"f:{number}", "bad")
    with pytest.raises(BadInput) as caught:
        problems.check()
    lines = str(caught.value).split("\n")
    assert lines[0] == "f:1: bad"
    assert lines[19:] == ["f:20: bad", "1000 problems; the first 20 are shown"]
    assert problems.n == 1000


def test_a_problem_that_stops_is_raised_with_those_before_it() -> None:
    """stop() raises at once."""
    problems = Problems()
    problems.add("a:1", "bad")
    with pytest.raises(BadInput) as caught:
        problems.stop("b", "not found")
    assert str(caught.value) == "a:1: bad\nb: not found\n2 problems"
