"""Encoding in shards: each text once, the same bytes by any number of processes, and a killed run goes on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attune.encoding import shards
from attune.encoding.shards import (
    ALL_SHARDS,
    Assignment,
    distinct,
    encode_kept,
    encode_shards,
    keep,
    shard_name,
    write_vectors,
)
from attune.errors import BadInput

Vectors = NDArray[np.float32]


class Encoder:
    """Length and first letter as the vector; remembers the texts it has encoded."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Vectors:
        self.seen += texts
        return np.array([[len(text), ord((text or " ")[0])] for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", 3)


def encoded(texts: Sequence[str], folder: Path, n_processes: int = 1) -> bytes:
    unique, indices = distinct(texts)
    files: list[Path] = []
    for rank in reversed(range(n_processes)):
        files = encode_shards(unique, Encoder(), folder / "shards", Assignment(rank, n_processes), "texts")
    write_vectors(files, indices, 2, folder / "out.npy")
    return (folder / "out.npy").read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab", max_size=3), max_size=40))
def test_every_row_has_the_vector_of_its_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Rows are in the order of the texts, equal ones included; no texts give a file of no rows."""
    folder = tmp_path_factory.mktemp("shards")
    encoded(texts, folder)
    vectors = np.load(folder / "out.npy")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, Encoder()(texts).reshape(-1, 2))


def test_equal_texts_are_encoded_once(tmp_path: Path) -> None:
    """Ten rows of three texts cost three."""
    encoder, (unique, indices) = Encoder(), distinct(["b", "a", "b", "c", "a"] * 2)
    encode_shards(unique, encoder, tmp_path, ALL_SHARDS, "texts")
    assert encoder.seen == ["b", "a", "c"]
    assert indices.tolist() == [0, 1, 0, 2, 1] * 2


def test_any_number_of_processes_makes_the_same_bytes(tmp_path: Path) -> None:
    """One, two, or more than there are shards: a shard holds the same texts in each case."""
    texts = [f"{n} " * (n % 5) for n in range(20)]
    of_one, *others = (encoded(texts, tmp_path / str(n), n) for n in (1, 2, 5, 40))
    assert all(of_other == of_one for of_other in others)


def test_a_killed_run_keeps_its_shards(tmp_path: Path) -> None:
    """Finished shards are not encoded again; one that was being written is."""
    texts = list("abcdefgh")
    with pytest.raises(KeyboardInterrupt):
        encode_shards(texts, _until("d"), tmp_path, ALL_SHARDS, "texts")
    assert sorted(file.name for file in tmp_path.iterdir()) == [shard_name("abc")]
    (tmp_path / f"{shard_name('def')}.partial").write_bytes(b"half of it")
    encoder = Encoder()
    encode_shards(texts, encoder, tmp_path, ALL_SHARDS, "texts")
    assert encoder.seen == list("defgh")


def test_a_damaged_shard_is_one_line(tmp_path: Path) -> None:
    """Cut short by a disk, say: the line names the file and says what to do."""
    unique, indices = distinct(["a", "b"])
    (file,) = encode_shards(unique, Encoder(), tmp_path, ALL_SHARDS, "texts")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match=rf"{file.name}: not a readable array .*delete its folder"):
        write_vectors([file], indices, 2, tmp_path / "out.npy")


def test_appended_texts_leave_earlier_shards_as_they_are(tmp_path: Path) -> None:
    """Only the last shard and what follows are encoded, to the bytes of a run from nothing; old shards then go."""
    texts = [f"text {number}" for number in range(8)]  # shards of three
    encode_shards(texts, Encoder(), tmp_path / "grown", ALL_SHARDS, "texts")
    encoder, grown = Encoder(), [*texts, "new", "newer"]
    files = encode_shards(grown, encoder, tmp_path / "grown", ALL_SHARDS, "texts")
    assert encoder.seen == ["text 6", "text 7", "new", "newer"]
    fresh = encode_shards(grown, Encoder(), tmp_path / "fresh", ALL_SHARDS, "texts")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in fresh]
    assert len(list((tmp_path / "grown").iterdir())) == 5  # the shard of texts 6 and 7 alone is old
    (tmp_path / "other encoder").mkdir()
    keep(tmp_path / "grown", files)
    assert sorted((tmp_path / "grown").iterdir()) == sorted(files)
    assert [file.name for file in tmp_path.iterdir()] == ["grown"]  # a system has one encoder


def test_kept_vectors_are_those_of_the_texts_row_by_row(tmp_path: Path) -> None:
    """Equal texts included; a second call encodes nothing."""
    texts = ["b", "a", "b", "ccc", "dd", "a"]
    vectors = encode_kept(texts, Encoder(), tmp_path / "e" / "0", "texts")
    np.testing.assert_array_equal(vectors, Encoder()(texts))
    encoder = Encoder()
    np.testing.assert_array_equal(encode_kept(texts, encoder, tmp_path / "e" / "0", "texts"), vectors)
    assert encoder.seen == []


def test_a_shard_s_name_tells_its_texts_and_their_order() -> None:
    """Neither another order nor another cut between texts has the same name; half a surrogate pair has a name, too."""
    names = {shard_name(texts) for texts in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["\ud800"])}
    assert len(names) == 5


def _until(last: str) -> Encoder:
    class Killed(Encoder):
        def __call__(self, texts: Sequence[str]) -> Vectors:
            if last in texts:
                raise KeyboardInterrupt
            return super().__call__(texts)

    return Killed()
