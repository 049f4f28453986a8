"""Evaluating: from embeddings to measures, beside sentence-transformers, ir-measures, pytrec_eval and ranx; 2 minutes.

    python bench/evaluate.py [--queries 10000] [--documents 10000] [--rounds 5]

Embeddings are drawn at random, queries near their answers. From embeddings, everything counts; from rankings, the
others get dictionaries that were made before. All measure the same (recall, MRR, nDCG, MAP), and their nDCG@10 must
agree. ranx needs numba, so it is no dependency: it joins where it can be imported (pip install ranx).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from alternating import Spread, alternate, ratios, timed
from ceilings import THREADS
from numpy.typing import NDArray
from section import Section, Target, show, table
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim

from attune.measures import RECALL_AT, measure
from attune.retrieval import top_k

DEPTH, DIM, WANTED_SECONDS = 100, 384, 2.0
MEASURES = (*(f"recall.{k}" for k in RECALL_AT), "recip_rank", "ndcg_cut.10", "map")  # as trec_eval calls them
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Score = Callable[[], float]  # does all the work; nDCG@10


@dataclass(frozen=True)
class Task:
    """Queries, documents, and judgments (query row, document row, 1)."""

    queries: Vectors
    documents: Vectors
    judgments: Rows

    @classmethod
    def drawn(cls, n_queries: int, n_documents: int, seed: int = 7) -> "Task":
        """One to three answers for each query, which lies near the first of them."""
        random = np.random.default_rng(seed)
        documents = _unit(random.standard_normal((n_documents, DIM), dtype=np.float32))
        answers = np.stack([random.choice(n_documents, 3, replace=False) for _ in range(n_queries)])
        noise = random.standard_normal((n_queries, DIM), dtype=np.float32) / DIM**0.5
        queries = _unit(0.4 * documents[answers[:, 0]] + 2.5 * noise)
        kept = np.arange(3) < random.integers(1, 4, (n_queries, 1))
        rows = np.nonzero(kept)[0]
        return cls(queries, documents, np.column_stack([rows, answers[kept], np.ones_like(rows)]))

    def qrels(self) -> dict[str, dict[str, int]]:
        """The judgments as the others read them."""
        found: dict[str, dict[str, int]] = {}
        for query, document, relevance in self.judgments.tolist():
            found.setdefault(f"q{query}", {})[f"d{document}"] = relevance
        return found


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def run_of(scores: Vectors, rows: Rows) -> dict[str, dict[str, float]]:
    """A ranking as the others read it."""
    return {
        f"q{query}": {f"d{row}": score for row, score in zip(found, values, strict=True)}
        for query, (found, values) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True))
    }


class Evaluator(InformationRetrievalEvaluator):
    """The library's own, over embeddings that are there already."""

    def __init__(self, task: Task) -> None:
        ids = {f"q{row}": "" for row in range(len(task.queries))}, {f"d{row}": "" for row in range(len(task.documents))}
        relevant = {query: set(documents) for query, documents in task.qrels().items()}
        cut_offs = {"mrr_at_k": [10], "ndcg_at_k": [10], "map_at_k": [100], "precision_recall_at_k": list(RECALL_AT)}
        one = {"score_functions": {"cosine": cos_sim}, "accuracy_at_k": [10], "write_csv": False, "name": "bench"}
        super().__init__(*ids, relevant, **cut_offs, **one)
        self.vectors = {"query": torch.from_numpy(task.queries), "document": torch.from_numpy(task.documents)}

    def embed_inputs(self, _model: object, inputs: Sequence[str], encode_fn_name: str, **_: object) -> torch.Tensor:
        """Those of the queries, or the documents' in chunks, of which there is one."""
        return self.vectors[encode_fn_name][: len(inputs)]

    def ndcg(self) -> float:
        """All its measures, one of them returned."""
        return float(self.compute_all_metrics(None)["cosine"]["ndcg@k"][10])


def own(task: Task, threads: int) -> float:
    """As stage evaluate does."""
    return ndcg(top_k(task.queries, task.documents, DEPTH, threads)[1], task.judgments)


def ndcg(rows: Rows, judgments: Rows) -> float:
    """All measures, one of them returned."""
    return float(measure(rows, judgments)["ndcg@10"].mean())


def trec_eval(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> float:
    """By pytrec_eval."""
    import pytrec_eval  # type: ignore[import-not-found]  # noqa: PLC0415

    found = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES)).evaluate(run)
    return float(np.mean([values["ndcg_cut_10"] for values in found.values()]))


def ir_measures(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> float:
    """By ir-measures."""
    import ir_measures as library  # noqa: PLC0415
    from ir_measures import AP, RR, R, nDCG  # noqa: PLC0415

    wanted = [*(R @ k for k in RECALL_AT), RR @ 10, nDCG @ 10, AP @ 100]
    return float(library.calc_aggregate(wanted, qrels, run)[nDCG @ 10])


def with_search(task: Task, threads: int, score: Callable[..., float]) -> float:
    """From embeddings by a library that does not search: attune's search, its dictionaries, its measures."""
    return score(task.qrels(), run_of(*top_k(task.queries, task.documents, DEPTH, threads)))


def ranx(task: Task, scores: Vectors, rows: Rows) -> Score:
    """By ranx, if it is here.

    Raises:
        ImportError: it is not.
    """
    from ranx import Qrels, Run, evaluate  # type: ignore[import-not-found]  # noqa: PLC0415

    qrels, run = Qrels(task.qrels()), Run(run_of(scores, rows))
    wanted = [*(f"recall@{k}" for k in RECALL_AT), "mrr@10", "ndcg@10", "map@100"]
    return lambda: float(evaluate(qrels, run, wanted)["ndcg@10"])


def compare(section: Section, competitors: dict[str, Score], rounds: int, what: str) -> dict[str, list[float]]:
    """One table; all ratios are to attune, who is first."""
    values = {name: score() for name, score in competitors.items()}  # warms up
    seconds = alternate({name: timed(score) for name, score in competitors.items()}, rounds, warm=0)
    first = next(iter(competitors))
    rows = [
        [name, Spread.of(taken).cell(), ratios(taken, seconds[first]).cell(), f"{values[name]:.6f}"]
        for name, taken in seconds.items()
    ]
    section.add(what, table(["system", "seconds", "times attune's", "nDCG@10"], rows))
    return seconds


def measure_all(section: Section, given: argparse.Namespace) -> None:
    """From embeddings, then from rankings."""
    torch.set_num_threads(given.threads)
    task = Task.drawn(given.queries, given.documents)
    sizes = f"{given.queries:,} queries, {given.documents:,} documents, top {DEPTH}, {given.threads} threads"
    evaluator = Evaluator(task)
    competitors: dict[str, Score] = {
        "attune": partial(own, task, given.threads),
        "InformationRetrievalEvaluator": evaluator.ndcg,
        "attune's search, then pytrec_eval": partial(with_search, task, given.threads, trec_eval),
        "attune's search, then ir-measures": partial(with_search, task, given.threads, ir_measures),
    }
    seconds = compare(section, competitors, given.rounds, f"**From embeddings**: {sizes}, {given.rounds} rounds.")
    found = Spread.of(seconds["attune"])
    ratio = ratios(seconds["InformationRetrievalEvaluator"], seconds["attune"])
    note = f"InformationRetrievalEvaluator takes {ratio.cell()} times as long"
    wanted = f"<= {WANTED_SECONDS:g} s from embeddings"
    is_met = found.median <= WANTED_SECONDS
    section.targets.append(Target(f"evaluate, {sizes}", wanted, f"{found.cell()} s", is_met, note))
    scores, rows = top_k(task.queries, task.documents, DEPTH, given.threads)
    qrels, run = task.qrels(), run_of(scores, rows)
    competitors = {
        "attune": partial(ndcg, rows, task.judgments),
        "pytrec_eval": partial(trec_eval, qrels, run),
        "ir-measures": partial(ir_measures, qrels, run),
    }
    try:
        competitors["ranx"] = ranx(task, scores, rows)
    except ImportError as error:
        section.leave_out(f"ranx ({error})")
    compare(section, competitors, given.rounds, "**From rankings**, the measures alone.")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=THREADS)
    show("evaluate", "Evaluate", parser, measure_all)


if __name__ == "__main__":
    main()
