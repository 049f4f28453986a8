"""Threads of torch: no vector function of MKL is called first by several threads at once."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from first_sizes import NAMES, FirstSizes

from attune.encoding import torch_threads
from attune.encoding.torch_threads import DTYPES, set_torch_threads

SOURCE = Path(torch_threads.__file__).parents[1]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_first_call_of_each_function_has_one_number() -> None:
    """In both precisions that MKL computes; the number of threads is set."""
    with FirstSizes() as first:
        set_torch_threads(3)
        torch.rand(10_000).sqrt()
    assert torch.get_num_threads() == 3
    assert first.sizes == {(name, dtype): 1 for name in NAMES for dtype in DTYPES}


def test_a_first_call_with_many_numbers_is_seen() -> None:
    """Also in place, and in a step of an optimizer."""
    vectors = torch.nn.Parameter(torch.ones(50, 4))
    with FirstSizes() as first:
        torch.rand(9).log_()
        torch.nn.functional.embedding(torch.arange(5), vectors, sparse=True).sum().backward()
        torch.optim.SparseAdam([vectors]).step()
    assert first.sizes == {("log", torch.float32): 9, ("sqrt", torch.float32): 20}


def setters(source: Path) -> set[str]:
    """Returns the files that set the number of torch's threads by themselves."""
    return {
        file.relative_to(source).as_posix()
        for file in source.rglob("*.py")
        if re.search(r"torch\.set_num_threads\(", file.read_text())
    }


def test_threads_are_set_in_one_place() -> None:
    """Stages and commands do so by `set_torch_threads` alone."""
    assert setters(SOURCE) == {"encoding/torch_threads.py"}


def test_another_place_is_found(tmp_path: Path) -> None:
    """The scan looks into every room."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "one.py").write_text("def f() -> None:\n    torch.set_num_threads(2)\n")
    (tmp_path / "two.py").write_text("set_torch_threads(2)\n")
    assert setters(tmp_path) == {"room/one.py"}
