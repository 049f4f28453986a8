"""Mining hard negatives: attune's stage beside mine_hard_negatives, encoding included; about 3 minutes.

    python -m bench.parts.mine [--queries 128] [--large 100000] [--rounds 3]

Both get the same queries, answers and documents of the default data and the same encoder (models/base). A second table
compares mining and evaluation on a large corpus of random embeddings with the time to encode as many documents, which
is extrapolated from attune's encoder on real texts in the same round.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, mine_hard_negatives

from attune.stage import load_params
from attune.stages.embed import EmbedParams
from attune.tuning.mining.candidates import Pairs, cosines
from attune.tuning.mining.false_negatives import mining_figures
from attune.tuning.mining.mine import MiningInput, MiningResult, mine_negatives
from attune.tuning.mining.rules import MineParams
from bench.alternating import Spread, alternate, ratios, timed
from bench.parts.ceilings import THREADS
from bench.parts.encode_worker import Encode, attune_torch
from bench.parts.evaluate import own as evaluate_own
from bench.ranked import Task
from bench.section import ROOT, Section, Target, show, table
from bench.texts import KINDS, documents, pairs, present

WANTED_SHARE = 0.05
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """Queries, the row of each query's answer, and the documents."""

    queries: list[str]
    answers: NDArray[np.int64]
    documents: list[str]

    @classmethod
    def drawn(cls, n: int) -> "Sample":
        """Returns n queries of the default data, their answers, and n other documents, without duplicate texts."""
        queries, answers = pairs(KINDS["code"], n)
        texts = list(dict.fromkeys([*answers, *documents(KINDS["code"], n)]))
        return cls(queries, np.array([texts.index(answer) for answer in answers]), texts)


def mining_input(
    queries: Vectors, documents: Vectors, answers: NDArray[np.int64], texts: tuple[list[str], list[str]]
) -> MiningInput:
    """Returns the input of stage mine for a corpus without near-duplicates."""
    rows, none = np.arange(len(documents)), Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    groups = np.arange(len(queries))
    return MiningInput(
        *texts, queries, documents, rows, groups, rows, rows, _pairs(answers), own_texts=none, own_negatives=none
    )


def _pairs(answers: NDArray[np.int64]) -> Pairs:
    return Pairs(np.arange(len(answers)), answers)


def mined(data: MiningInput, params: MineParams) -> MiningResult:
    """Does the work of stage mine between reading and writing, its figures included."""
    score = cosines(data.query_vectors, data.document_vectors)
    result = mine_negatives(data, params, score)
    mining_figures(data, params, result, score)
    return result


def library(model: SentenceTransformer, sample: Sample, params: MineParams) -> Dataset:
    """Mines with mine_hard_negatives, as its documentation shows, with FAISS and attune's rule for false negatives."""
    rows = {"query": sample.queries, "answer": [sample.documents[row] for row in sample.answers]}
    return mine_hard_negatives(
        Dataset.from_dict(rows),
        model,
        corpus=sample.documents,
        num_negatives=params.n_negatives,
        range_max=params.depth,
        relative_margin=1 - params.max_share_of_positive,
        use_faiss=True,
        verbose=False,
    )


def small(section: Section, options: argparse.Namespace, params: MineParams, encode: Encode, sample: Sample) -> None:
    """Adds the table of both systems on real texts."""
    model = SentenceTransformer(str(options.model), device="cpu", local_files_only=True)
    encoding: list[float] = []

    def own() -> None:
        start = time.perf_counter()
        vectors, queries = encode(sample.documents), encode(sample.queries)
        encoding.append(time.perf_counter() - start)
        mined(mining_input(queries, vectors, sample.answers, (sample.queries, sample.documents)), params)

    def in_bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            library(model, sample, params)

    runs = {
        "mine_hard_negatives": timed(lambda: library(model, sample, params)),
        "mine_hard_negatives, bf16 autocast": timed(in_bf16),
        "attune": timed(own),
    }
    seconds = alternate(runs, options.rounds)
    slow, fast = seconds["mine_hard_negatives"], seconds["attune"]
    share = Spread.of(part / whole for part, whole in zip(encoding[-options.rounds :], fast, strict=True))
    rows = [[name, Spread.of(elapsed).cell(), ratios(slow, elapsed).cell()] for name, elapsed in seconds.items()]
    section.add(
        f"**{len(sample.queries)} queries, {len(sample.documents)} documents** of the default data, {options.threads} "
        f"threads, {options.rounds} rounds; encoding is {share.median:.1%} of attune's time.",
        table(["system", "seconds", "times mine_hard_negatives"], rows),
    )


def large(section: Section, options: argparse.Namespace, params: MineParams, encode: Encode, sample: Sample) -> None:
    """Adds the table of mining and evaluation on random embeddings, relative to the extrapolated encoding time."""
    task = Task.drawn(options.large // 10, options.large)
    first = task.judgments[np.unique(task.judgments[:, 0], return_index=True)[1], 1]
    data = mining_input(task.queries, task.documents, first, ([""] * len(task.queries), [""] * options.large))
    runs = {
        "encode": timed(lambda: encode(sample.documents)),
        "mine": timed(lambda: mined(data, params)),
        "evaluate": timed(lambda: evaluate_own(task, options.threads)),
    }
    seconds = alternate(runs, options.rounds)
    times = options.large / len(sample.documents)
    encoding = [times * elapsed for elapsed in seconds.pop("encode")]
    sizes = f"{options.large:,} documents, {len(task.queries):,} queries"
    rows = [["encode, reckoned", Spread.of(encoding).cell(), ""]]
    note = f"encoding {options.large / Spread.of(encoding).median:,.0f} documents a second"
    for name, elapsed in seconds.items():
        share = Spread.of(100 * one / other for one, other in zip(elapsed, encoding, strict=True))
        rows.append([name, Spread.of(elapsed).cell(), f"{share.cell()} %"])
        is_met = share.median <= 100 * WANTED_SHARE
        wanted = f"<= {WANTED_SHARE:.0%} of encoding"
        section.targets.append(Target(f"{name} beyond encoding, {sizes}", wanted, rows[-1][2], is_met, note))
    section.add(
        f"**{sizes}**, random embeddings; encoding is that of the default data's texts ({note}). Of shorter texts, "
        "which are encoded faster, the share is larger in proportion.",
        table(["stage", "seconds", "of encoding"], rows),
    )


def measure(section: Section, options: argparse.Namespace) -> None:
    """Measures on real texts, then at scale."""
    torch.set_num_threads(options.threads)
    if reason := present(KINDS["code"]):
        section.leave_out(reason)
        return
    precision = load_params(EmbedParams, "embed", ROOT / "params.yaml").machine.precision
    params = load_params(MineParams, "mine", ROOT / "params.yaml")
    encode, sample = attune_torch(options.model, options.threads, precision), Sample.drawn(options.queries)
    section.add(
        f"attune encodes in {precision} (machine.precision), as its pipeline does; "
        "mine_hard_negatives in fp32, as it does by itself, and under bf16 autocast."
    )
    small(section, options, params, encode, sample)
    large(section, options, params, encode, sample)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--model", type=Path, default=ROOT / "models/base")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=THREADS)
    show("mine", "Mine", parser, measure)


if __name__ == "__main__":
    main()
