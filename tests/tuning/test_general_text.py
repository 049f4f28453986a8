"""General text is split in two halves by a hash; every fault is named by file and line."""

import json
from pathlib import Path

import pytest

from attune.errors import BadInput
from attune.tuning.general_text import read_general_text


def lines(n: int) -> list[str]:
    return [json.dumps({"query": f"what of {i}", "passage": f"this of {i}"}) for i in range(n)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_each_pair_is_in_one_half_and_both_halves_are_filled(tmp_path: Path) -> None:
    """The hash splits 100 unrelated pairs about evenly and loses none."""
    halves = read_general_text(write(tmp_path / "p.jsonl", "\n".join(lines(100))))
    assert len(halves.train) + len(halves.evaluation) == 100
    assert not set(halves.train) & set(halves.evaluation)
    assert 30 < len(halves.train) < 70


def test_added_lines_move_no_old_pair(tmp_path: Path) -> None:
    """Neither unrelated lines nor the order of lines change a pair's half."""
    few = read_general_text(write(tmp_path / "few.jsonl", "\n".join(lines(50))))
    more = read_general_text(write(tmp_path / "more.jsonl", "\n".join(reversed(lines(90)))))
    assert set(few.train) <= set(more.train)
    assert set(few.evaluation) <= set(more.evaluation)


def test_no_text_is_in_both_halves(tmp_path: Path) -> None:
    """Pairs that share a query or a passage, also through other pairs, go to the same half."""
    chains = [
        json.dumps({"query": f"q{n}.{part // 2}", "passage": f"p{n}.{(part + 1) // 2}"})
        for n in range(40)
        for part in range(4)
    ]
    halves = read_general_text(write(tmp_path / "p.jsonl", "\n".join(chains)))
    train, evaluation = ({text for pair in half for text in pair} for half in halves)
    assert train and evaluation and not train & evaluation


def test_separators_inside_strings_end_no_line(tmp_path: Path) -> None:
    """U+2028, U+2029 and U+0085, as JSON writers of other languages leave them, belong to the text of a pair."""
    marked = [
        json.dumps({"query": f"first{mark}line {i}", "passage": f"left{mark}right {i}"}, ensure_ascii=False)
        for i, mark in enumerate(["\u2028", "\u2029", "\u0085"] * 10)
    ]
    halves = read_general_text(write(tmp_path / "p.jsonl", "\r\n".join(marked)))
    pairs = {json.loads(line)["query"]: json.loads(line)["passage"] for line in marked}
    assert {pair.query: pair.passage for half in halves for pair in half} == pairs


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"query": "a"}', '{"query": 1, "passage": "b"}'])
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str) -> None:
    """The message has file and line, the content and the expected form."""
    with pytest.raises(BadInput, match=r"p\.jsonl:3: got .*expected"):
        read_general_text(write(tmp_path / "p.jsonl", "\n".join([*lines(2), line])))


@pytest.mark.parametrize(("text", "word"), [("", "leave none for train"), ('{"query": " ", "passage": "b"}', "empty")])
def test_nothing_to_train_on_is_bad_input(tmp_path: Path, text: str, word: str) -> None:
    """An empty file and a blank query are refused."""
    with pytest.raises(BadInput, match=word):
        read_general_text(write(tmp_path / "p.jsonl", text))


def test_a_missing_file_and_other_encodings_are_bad_input(tmp_path: Path) -> None:
    """The message says which of the two it is."""
    with pytest.raises(BadInput, match="not found"):
        read_general_text(tmp_path / "none.jsonl")
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_general_text(tmp_path / "p.jsonl")
