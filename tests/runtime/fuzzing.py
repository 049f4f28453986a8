"""Reads mutated folders, and records what happens: `python fuzzing.py MODEL INDEX SCRATCH FIRST NUMBER`.

An audit hook sees every open of Python's, and cannot be removed, hence a process of its own. Opens by the libraries'
own code are seen by the kernel: it watches the folder outside, which the hostile names and links point to.
"""

import ctypes
import json
import os
import random
import select
import sys
import traceback
from pathlib import Path
from typing import Any

import mutations
import numpy as np

from attune.errors import BadInput, one_line
from attune.runtime import Embedder, verify
from attune.runtime.search import Search

IN_ACCESS, IN_OPEN, IN_NONBLOCK = 0x1, 0x20, 0x800
OPENING = ("open", "os.listdir", "os.scandir")


class Watch:
    """Records what is opened outside a folder: paths by the audit hook, events by inotify on the folder outside."""

    def __init__(self, outside: Path) -> None:
        self.inside: str | None = None  # None: not watching
        self.opened: list[str] = []
        libc = ctypes.CDLL(None)
        self._inotify = libc.inotify_init1(IN_NONBLOCK)
        assert libc.inotify_add_watch(self._inotify, str(outside).encode(), IN_OPEN | IN_ACCESS) >= 0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.inside is None or event not in OPENING or isinstance(arguments[0], int):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path != self.inside and not path.startswith(f"{self.inside}/"):
            self.opened.append(path)

    def events(self) -> int:
        """Returns the number of bytes of events in the folder outside since the last call."""
        return len(os.read(self._inotify, 65536)) if select.select([self._inotify], [], [], 0)[0] else 0


def read_model(folder: Path) -> None:
    """Does what a service does."""
    verify(folder, threads=1)
    Embedder(folder, threads=1).encode_query(["a cat", "", "sort the rows of a matrix " * 20])


def read_index(folder: Path) -> None:
    """Does what a service does."""
    Search.load(folder).top(np.eye(3, 32, dtype=np.float32), 5)


def outcome(case: Path, kind: str, watch: Watch) -> str:
    """Reads the folder; returns "read", "refused", or the fault with its traceback."""
    try:
        (read_index if kind == "index" else read_model)(case)
    except (BadInput, ValueError) as error:
        text = str(error)
        return "refused" if text == one_line(text) and text else f"not one printable line: {text!a}"
    except BaseException:
        watch.inside = None  # a traceback reads source files
        return traceback.format_exc()
    return "read"


def print_line(content: object) -> None:
    """Writes a line for the test at once."""
    sys.stdout.write(f"{content}\n")
    sys.stdout.flush()


def main() -> None:
    """Prints one JSON line per mutation: its seed first, then kind, outcome and what was opened outside."""
    model, index, scratch, first, number = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:6]
    outside, case = scratch / "outside", scratch / "cases" / "case"
    watch = Watch(outside)
    read_model(model)  # imports what is imported at first use
    read_index(index)
    one_line("\x1b")
    for seed in range(int(first), int(first) + int(number)):
        chance = random.Random(seed)
        kind = chance.choice(mutations.KINDS)
        mutations.fresh_copy(index if kind == "index" else model, case)
        if kind == "index":
            mutations.mutate_index(case, chance, outside)
        else:
            mutations.mutate_model(case, kind, chance, outside)
        print_line(seed)  # a crash or a hang shows which
        watch.events()
        watch.inside, watch.opened = os.path.realpath(case), []
        result = outcome(case, kind, watch)
        watch.inside = None
        print_line(json.dumps([kind, result, watch.opened, watch.events()]))


if __name__ == "__main__":
    main()
