"""Ceilings: matrix products per second in fp32, bf16 and int8, at the shapes of the encoder's layers.

    python -m bench.parts.ceilings [--model models/onnx] [--tokens 4096] [--threads N]

The ceiling is the rate of a layer's six products with weights, in torch for floats and in onnxruntime for int8, the
fastest library for each. An encoder stays below it: attention's own products, softmax, layer norms and tokenising are
not included.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from bench.alternating import alternate, rates
from bench.matrix_products import float_products, int8_products
from bench.section import ROOT, Section, show, table
from bench.workers import Worker, obey

PRECISIONS = ("fp32", "bf16", "int8")
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Shape(NamedTuple):
    """Dimensions of an encoder that determine its cost."""

    n_layers: int
    dim: int
    wide: int  # of the feed-forward network

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the config.json of a BERT-like encoder."""
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(settings["num_hidden_layers"], settings["hidden_size"], settings["intermediate_size"])

    def products(self) -> list[tuple[int, int, int]]:
        """Returns the products of a layer with weights: number, input columns, output columns."""
        return [(4, self.dim, self.dim), (1, self.dim, self.wide), (1, self.wide, self.dim)]

    def layer_flop(self, n_tokens: int) -> int:
        """Returns the operations of a layer's products: a multiplication and an addition per weight and token."""
        return sum(2 * times * n_tokens * rows * columns for times, rows, columns in self.products())

    def flop(self, lengths: Sequence[int]) -> int:
        """Returns the operations of encoding texts with these numbers of tokens, without padding.

        Counts the products with weights and attention's two products (queries by keys, attention weights by values),
        2 x 2 x length x length x dim per layer.
        """
        attention = sum(4 * length * length * self.dim for length in lengths)
        return self.n_layers * (self.layer_flop(sum(lengths)) + attention)


def work(shape: Shape, n_tokens: int, threads: int) -> Callable[..., object]:
    """Returns the worker's function, which runs a layer's products, or one of them, a number of times."""
    layer = [(rows, columns) for times, rows, columns in shape.products() for _ in range(times)]

    @functools.cache
    def products(precision: str, which: int | None) -> Callable[[], object]:
        sizes = layer if which is None else [layer[which]]
        if precision == "int8":
            return int8_products(sizes, n_tokens, threads)
        return float_products(sizes, n_tokens, threads, precision)

    def run(precision: str, times: int, which: int | None = None) -> None:
        product = products(precision, which)
        for _ in range(times):
            product()

    return run


class Ceiling:
    """Client of the worker that multiplies matrices."""

    def __init__(self, shape: Shape, n_tokens: int, threads: int) -> None:
        self.shape, self.n_tokens = shape, n_tokens
        arguments = ["--worker", *map(str, (*shape, n_tokens, threads))]
        self.worker = Worker("ceiling", ("-m", "bench.parts.ceilings"), *arguments)

    def rate(self, precision: str, times: int = 8) -> float:
        """Returns the operations per second of a layer's products."""
        return times * self.shape.layer_flop(self.n_tokens) / self.worker.ask(precision=precision, times=times)


def measure(section: Section, options: argparse.Namespace) -> None:
    """Adds a table with a row per product and one for the whole layer."""
    shape = Shape.read(options.model)
    ceiling = Ceiling(shape, options.tokens, options.threads)
    with ceiling.worker as worker:
        worker.ready()
        rows = []
        for name, which, flop in _cases(shape, options.tokens):
            runs = {
                precision: lambda precision=precision, which=which: worker.ask(
                    precision=precision, times=8, which=which
                )
                for precision in PRECISIONS
            }
            seconds = alternate(runs, options.rounds)
            rows.append([name, *(rates(8 * flop / 1e9, seconds[precision]).cell(0) for precision in PRECISIONS)])
    section.add(
        f"Matrix products of {options.tokens} tokens in GFLOP/s (int8: operations), {options.threads} threads, "
        f"minimum / **median** / maximum of {options.rounds} rounds.",
        table(["product", *PRECISIONS], rows),
    )


def _cases(shape: Shape, n_tokens: int) -> list[tuple[str, int | None, int]]:
    """Returns name, place in the layer (None for all products) and operations of each row of the table."""
    cases: list[tuple[str, int | None, int]] = []
    place = 0
    for times, rows, columns in shape.products():
        cases.append((f"{rows} x {columns}", place, 2 * n_tokens * rows * columns))
        place += times
    return [*cases, ("a whole layer", None, shape.layer_flop(n_tokens))]


def main() -> None:
    """Runs the worker, or prints the table."""
    if sys.argv[1:2] == ["--worker"]:
        n_layers, dim, wide, n_tokens, threads = map(int, sys.argv[2:])
        obey(lambda: work(Shape(n_layers, dim, wide), n_tokens, threads))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models/onnx")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--rounds", type=int, default=5)
    show("ceilings", "Ceilings", parser, measure)


if __name__ == "__main__":
    main()
