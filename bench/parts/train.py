"""Training: attune's fitting beside the plain sentence-transformers trainer, in fp32 and in bf16; about 9 minutes.

    python -m bench.parts.train [--kinds short long] [--rounds 5] [--batch-size 32]

All systems train on the same pairs with in-batch negatives from the same encoder (models/base), at one batch size and
maximum length. They alternate every few steps, each in its own process; the first turn is not counted. The plain
trainer has its defaults, the encoder's own dropout (0.1) and torch's fused attention; a further row has neither. The
order of batches, and so their lengths, differ between systems: the table has the ratio within each round and over all
rounds. attune's whole recipe is that of params.yaml, including, for example, distillation. bench/parts/recipe.py
compares the quality of the encoders.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.alternating import Run, alternate, rates, ratios
from bench.parts.ceilings import THREADS
from bench.section import ROOT, Section, Target, show, table
from bench.texts import KINDS, Kind, cut, pairs, present
from bench.workers import Gone, Worker

PLAIN, OURS = "plain trainer", "attune: bf16, dropout 0, no padding"
NAMES = (PLAIN, "plain trainer, bf16", "plain trainer, bf16, dropout 0, eager", OURS, "attune, its whole recipe")
WANTED = {"short": 2.0, "code": 1.6, "long": 1.6}
HEAD = ["system", "pairs/s", "times plain fp32", "times, all rounds", "peak MB"]


def start(folder: Path, scratch: Path, kind: Kind, options: argparse.Namespace) -> dict[str, Worker]:
    """Starts a worker per system, by name; they are still loading."""
    n_rounds = options.rounds + 2  # one warm-up round, and one that is never finished
    queries, documents = pairs(kind, n_rounds * kind.turn * options.batch_size)
    file = scratch / "pairs.json"
    file.write_text(json.dumps({"query": queries, "positive": documents}), encoding="utf-8")
    program = ("-m", "bench.parts.train_worker")
    arguments = [str(folder), str(file), *map(str, (options.batch_size, kind.turn, options.threads))]
    return {name: Worker(name, program, name, *arguments, python=sys.executable) for name in NAMES}


def measure_kind(section: Section, kind: Kind, options: argparse.Namespace) -> None:
    """Adds the table and the target of a kind of text."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = cut(options.model, kind.train_length, Path(scratch) / "model")
        runs: dict[str, Run] = {}
        workers = start(folder, Path(scratch), kind, options)
        for name, worker in workers.items():
            stack.callback(worker.close)
            try:
                worker.ready()
                runs[name] = worker.ask
            except Gone as error:
                section.leave_out(f"{kind.name} texts: {error}")
        if missing := {PLAIN, OURS} - set(runs):
            raise Gone(f"train, {kind.name} texts: nothing to compare without {', '.join(sorted(missing))}")
        seconds = alternate(runs, options.rounds)
    n, plain = kind.turn * options.batch_size, seconds[PLAIN]
    rows = []
    for name, elapsed in seconds.items():
        peak = f"{workers[name].peak_bytes / 1e6:,.0f}"
        cells = [rates(n, elapsed).cell(1), ratios(plain, elapsed).cell(), f"{sum(plain) / sum(elapsed):.2f}", peak]
        rows.append([name, *cells])
    section.add(
        f"**{kind.name}**: {kind.source or 'the default data'}, batch {options.batch_size}, "
        f"at most {kind.train_length} tokens, {options.rounds} rounds of {kind.turn} steps.",
        table(HEAD, rows),
    )
    ratio, wanted = ratios(plain, seconds[OURS]), WANTED[kind.name]
    note = f"all rounds together {sum(plain) / sum(seconds[OURS]):.2f}"
    compared = f"train, {kind.name} texts"
    target = Target(compared, f">= {wanted} times plain fp32", ratio.cell(), ratio.median >= wanted, note)
    section.targets.append(target)


def measure(section: Section, options: argparse.Namespace) -> None:
    """Measures every kind of text that is present."""
    section.add(f"{options.threads} threads; minimum / **median** / maximum of {options.rounds} rounds.")
    for name in options.kinds:
        if reason := present(KINDS[name]):
            section.leave_out(reason)
        else:
            measure_kind(section, KINDS[name], options)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["short", "long"])
    parser.add_argument("--model", type=Path, default=ROOT / "models/base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=THREADS)
    show("train", "Train", parser, measure)


if __name__ == "__main__":
    main()
