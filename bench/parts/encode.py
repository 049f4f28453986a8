"""Encoding: attune beside sentence-transformers and its backends, fastembed, model2vec, onnxruntime; about 10 minutes.

    python -m bench.parts.encode [--kinds short code long] [--rounds 5] [--share 1.0]

All systems encode the same documents with the same weights (models/onnx), alternately, each in its own process. The
share of the ceiling is operations per second, counted over the texts' tokens without padding, divided by the rate of
matrix products in the same precision and round (bench/parts/ceilings.py). Rivals that cannot be installed beside attune
run in environments of their own, which are made at their first use. Of equal cosine are systems whose mean cosine to
sentence-transformers' fp32 vectors is .9999 or more.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from bench.alternating import Run, Spread, alternate, rates, ratios
from bench.parts.ceilings import PRECISIONS, THREADS, Ceiling, Shape
from bench.parts.encode_worker import COMPETITORS, ENVIRONMENTS
from bench.rivals import environments
from bench.section import ROOT, Section, Target, show, table
from bench.texts import KINDS, Kind, documents, encoder, present
from bench.workers import Gone, Worker

PLAIN, OURS, INT8 = "SentenceTransformer.encode", "attune, as it scores", "attune, as it scores in int8"
WANTED_RATIO, WANTED_COSINE, WANTED_INT8, WANTED_BEST = 2.2, 0.9999, 3.5, 1.2
Pythons = Mapping[str, Path | None]  # interpreters by system; None where its environment cannot be made
HEAD = ["system", "documents/s", "times plain", "share of ceiling", "peak MB", "mean cosine", "least cosine"]


class Systems:
    """Workers of all systems for one kind of text, and the worker of the ceilings."""

    def __init__(self, folder: Path, scratch: Path, texts: list[str], threads: int, pythons: Pythons) -> None:
        self.texts, self.scratch, self.shape = texts, scratch, Shape.read(folder)
        self.ceiling = Ceiling(self.shape, 4096, threads)
        file = scratch / "texts.json"
        file.write_text(json.dumps(texts), encoding="utf-8")
        program = ("-m", "bench.parts.encode_worker")
        self.workers = {}
        for name in COMPETITORS:
            if python := pythons.get(name, sys.executable):
                arguments = (name, str(folder), str(file), str(threads))
                self.workers[name] = Worker(name, program, *arguments, python=python)

    def ready(self, section: Section) -> None:
        """Waits for all workers, leaves out those that fail, and saves each one's embeddings for `cosines`.

        Raises:
            Gone: plain or attune failed.
        """
        self.ceiling.worker.ready()
        for name, worker in list(self.workers.items()):
            try:
                worker.ready()
                worker.ask(out=str(self._embeddings(name)))
            except Gone as error:
                section.leave_out(str(error))
                worker.close()
                del self.workers[name]
        if missing := {PLAIN, OURS} - set(self.workers):
            raise Gone(f"encode: nothing to compare without {', '.join(sorted(missing))}")

    def close(self) -> None:
        """Ends all workers."""
        for worker in (self.ceiling.worker, *self.workers.values()):
            worker.close()

    def run(self, rounds: int) -> dict[str, list[float]]:
        """Returns per round the seconds by system, and the operations per second of the ceiling by precision."""
        runs: dict[str, Run] = {precision: self._ceiling(precision) for precision in PRECISIONS}
        runs |= {name: worker.ask for name, worker in self.workers.items()}
        return alternate(runs, rounds, warm=0)  # `ready` is the warm-up

    def _ceiling(self, precision: str) -> Run:
        return lambda: self.ceiling.rate(precision)

    def _embeddings(self, name: str) -> Path:
        return self.scratch / f"{list(COMPETITORS).index(name)}.npy"

    def cosines(self) -> dict[str, np.ndarray]:
        """Returns each system's cosines to the embeddings of PLAIN, (n_texts,) each."""
        files = {name: self._embeddings(name) for name in self.workers}
        embeddings = {name: np.load(files[name]).astype(np.float64) for name in self.workers}
        unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in embeddings.items()}
        return {name: (rows * unit[PLAIN]).sum(axis=1) for name, rows in unit.items()}


def lengths(folder: Path, texts: list[str]) -> list[int]:
    """Returns the number of tokens of each text, up to the encoder's maximum length."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]


def measure_kind(section: Section, kind: Kind, options: argparse.Namespace, pythons: Pythons) -> None:
    """Adds the table and the targets of a kind of text."""
    texts = documents(kind, max(2, round(options.share * kind.n_documents)))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = encoder(options.model, kind.max_length, Path(name) / "model")
        systems = Systems(folder, Path(name), texts, options.threads, pythons)
        stack.callback(systems.close)
        systems.ready(section)
        seconds, cosines = systems.run(options.rounds), systems.cosines()
        tokens = lengths(folder, texts)
        peaks = {name: worker.peak_bytes for name, worker in systems.workers.items()}
        precisions = {name: str(worker.facts["precision"]) for name, worker in systems.workers.items()}
    flop, rows = systems.shape.flop(tokens), []
    for name in systems.workers:
        ceiling = seconds[precisions[name]]
        share = Spread.of(flop / elapsed / rate for elapsed, rate in zip(seconds[name], ceiling, strict=True))
        cells = [rates(len(texts), seconds[name]).cell(1), ratios(seconds[PLAIN], seconds[name]).cell()]
        cells += [f"{share.median:.0%}", f"{peaks[name] / 1e6:,.0f}"]
        rows.append([name, *cells, f"{cosines[name].mean():.6f}", f"{cosines[name].min():.5f}"])
    section.add(
        f"**{kind.name}**: {len(texts)} documents ({kind.source or 'the default data'}), "
        f"{np.mean(tokens):.0f} tokens on average, {max(tokens)} at most; {flop / 1e9:,.1f} GFLOP; "
        f"ceilings {', '.join(f'{name} {np.median(seconds[name]) / 1e9:,.0f} GFLOP/s' for name in PRECISIONS)}.",
        table(HEAD, rows),
    )
    ratio, cosine = ratios(seconds[PLAIN], seconds[OURS]), cosines[OURS].mean()
    is_met = ratio.median >= WANTED_RATIO and cosine >= WANTED_COSINE
    note = f"{precisions[OURS]}, mean cosine {cosine:.6f}"
    wanted = f">= {WANTED_RATIO} times plain fp32, mean cosine >= {WANTED_COSINE}"
    section.targets.append(Target(f"encode, {kind.name} texts", wanted, ratio.cell(), is_met, note))
    rivals = [name for name in systems.workers if not name.startswith("attune")]
    best = min((n for n in rivals if cosines[n].mean() >= WANTED_COSINE), key=lambda n: float(np.median(seconds[n])))
    ratio = ratios(seconds[best], seconds[OURS])
    what, wanted = f"encode beside the best rival, {kind.name} texts", f">= {WANTED_BEST} times it, at equal cosine"
    section.targets.append(Target(what, wanted, ratio.cell(), ratio.median >= WANTED_BEST, f"the best: {best}"))
    if INT8 in seconds:
        ratio, wanted = ratios(seconds[PLAIN], seconds[INT8]), f">= {WANTED_INT8} times plain fp32"
        note = f"mean cosine {cosines[INT8].mean():.4f}"
        is_met = ratio.median >= WANTED_INT8
        section.targets.append(Target(f"encode in int8, {kind.name} texts", wanted, ratio.cell(), is_met, note))


def measure(section: Section, options: argparse.Namespace) -> None:
    """Measures every kind of text that is present."""
    section.add(f"{options.threads} threads; minimum / **median** / maximum of {options.rounds} rounds.")
    pythons = {name: environments.python(section, name, pins) for name, pins in ENVIRONMENTS.items()}
    for name in options.kinds:
        if reason := present(KINDS[name]):
            section.leave_out(reason)
        else:
            measure_kind(section, KINDS[name], options, pythons)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--model", type=Path, default=ROOT / "models/onnx")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the documents to encode; 0.1 for a quick run"
    )
    parser.add_argument("--threads", type=int, default=THREADS)
    show("encode", "Encode", parser, measure)


if __name__ == "__main__":
    main()
