"""Evaluating: from embeddings to measures, beside sentence-transformers, ir-measures, pytrec_eval and ranx; 2 minutes.

    python -m bench.parts.evaluate [--queries 10000] [--documents 10000] [--rounds 5]

Embeddings are random, with queries near their answers. "From embeddings" times search and measures; "from rankings"
times the measures alone, on dictionaries made before. All systems compute recall, MRR, nDCG and MAP; the table shows
nDCG@10, which should agree. ranx needs numba and runs in its own environment (bench/rivals/ranx.txt), made at its first
use.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim

from attune.evaluation.scoring.measures import RECALL_AT, measure
from attune.retrieval.exact import top_k
from bench.alternating import Spread, alternate, ratios, timed
from bench.parts.ceilings import THREADS
from bench.ranked import Rows, Task, run_of
from bench.rivals import environments
from bench.section import ROOT, Section, Target, show, table
from bench.workers import Gone, Worker

DEPTH, WANTED_SECONDS = 100, 2.0
MEASURES = (*(f"recall.{k}" for k in RECALL_AT), "recip_rank", "ndcg_cut.10", "map")  # names of trec_eval
Score = Callable[[], float]  # does all the work and returns nDCG@10


class Evaluator(InformationRetrievalEvaluator):  # type: ignore[misc]  # the library has no types
    """InformationRetrievalEvaluator on existing embeddings."""

    def __init__(self, task: Task) -> None:
        ids = {f"q{row}": "" for row in range(len(task.queries))}, {f"d{row}": "" for row in range(len(task.documents))}
        relevant = {query: set(documents) for query, documents in task.qrels().items()}
        cut_offs = {"mrr_at_k": [10], "ndcg_at_k": [10], "map_at_k": [100], "precision_recall_at_k": list(RECALL_AT)}
        settings = {"score_functions": {"cosine": cos_sim}, "accuracy_at_k": [10], "write_csv": False, "name": "bench"}
        super().__init__(*ids, relevant, **cut_offs, **settings)
        self.vectors = {"query": torch.from_numpy(task.queries), "document": torch.from_numpy(task.documents)}

    def embed_inputs(self, _model: object, inputs: Sequence[str], encode_fn_name: str, **_: object) -> torch.Tensor:
        """Returns the existing embeddings of the queries or of the documents, which form one chunk."""
        return self.vectors[encode_fn_name][: len(inputs)]

    def ndcg(self) -> float:
        """Computes all measures of the library; returns nDCG@10."""
        return float(self.compute_all_metrics(None)["cosine"]["ndcg@k"][10])


def own(task: Task, threads: int) -> float:
    """Searches and measures as stage evaluate does; returns nDCG@10."""
    return ndcg(top_k(task.queries, task.documents, DEPTH, threads)[1], task.judgments)


def ndcg(rows: Rows, judgments: Rows) -> float:
    """Computes all measures of attune; returns nDCG@10."""
    return float(measure(rows, judgments)["ndcg@10"].mean())


def trec_eval(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> float:
    """Computes all measures with pytrec_eval; returns nDCG@10."""
    import pytrec_eval  # noqa: PLC0415

    values_by_query = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES)).evaluate(run)
    return float(np.mean([values["ndcg_cut_10"] for values in values_by_query.values()]))


def ir_measures(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> float:
    """Computes all measures with ir-measures; returns nDCG@10."""
    import ir_measures as library  # noqa: PLC0415
    from ir_measures import AP, RR, R, nDCG  # noqa: PLC0415

    wanted = [*(R @ k for k in RECALL_AT), RR @ 10, nDCG @ 10, AP @ 100]
    return float(library.calc_aggregate(wanted, qrels, run)[nDCG @ 10])


def with_search(task: Task, threads: int, score: Callable[..., float]) -> float:
    """Searches with attune, converts to dictionaries, and measures with a library that has no search."""
    return score(task.qrels(), run_of(*top_k(task.queries, task.documents, DEPTH, threads)))


def ranx(section: Section, qrels: object, run: object, stack: ExitStack) -> dict[str, Score]:
    """Returns ranx, by name, in its own environment; nothing if it cannot be installed or fails."""
    python = environments.python(section, "ranx", ROOT / "bench/rivals/ranx.txt")
    if python is None:
        return {}
    wanted = [*(f"recall@{k}" for k in RECALL_AT), "mrr@10", "ndcg@10", "map@100"]
    file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ranked.json"
    file.write_text(json.dumps({"qrels": qrels, "run": run, "measures": wanted}), encoding="utf-8")
    worker = stack.enter_context(Worker("ranx", ("-m", "bench.rivals.ranx_worker"), str(file), python=python))
    try:
        worker.ready()
    except Gone as error:
        section.leave_out(str(error))
        return {}

    def score() -> float:
        worker.ask()
        return float(worker.facts["ndcg@10"])

    return {"ranx": score}


def compare(section: Section, systems: dict[str, Score], rounds: int, caption: str) -> dict[str, list[float]]:
    """Adds a table, with ratios to the first system, attune; returns the seconds by system."""
    values = {name: score() for name, score in systems.items()}  # warm-up
    seconds = alternate({name: timed(score) for name, score in systems.items()}, rounds, warm=0)
    first = next(iter(systems))
    rows = [
        [name, Spread.of(elapsed).cell(), ratios(elapsed, seconds[first]).cell(), f"{values[name]:.6f}"]
        for name, elapsed in seconds.items()
    ]
    section.add(caption, table(["system", "seconds", "times attune's", "nDCG@10"], rows))
    return seconds


def measure_all(section: Section, options: argparse.Namespace) -> None:
    """Measures from embeddings, then from rankings."""
    torch.set_num_threads(options.threads)
    task = Task.drawn(options.queries, options.documents)
    sizes = f"{options.queries:,} queries, {options.documents:,} documents, top {DEPTH}, {options.threads} threads"
    evaluator = Evaluator(task)
    systems: dict[str, Score] = {
        "attune": partial(own, task, options.threads),
        "InformationRetrievalEvaluator": evaluator.ndcg,
        "attune's search, then pytrec_eval": partial(with_search, task, options.threads, trec_eval),
        "attune's search, then ir-measures": partial(with_search, task, options.threads, ir_measures),
    }
    seconds = compare(section, systems, options.rounds, f"**From embeddings**: {sizes}, {options.rounds} rounds.")
    spread = Spread.of(seconds["attune"])
    ratio = ratios(seconds["InformationRetrievalEvaluator"], seconds["attune"])
    note = f"InformationRetrievalEvaluator takes {ratio.cell()} times as long"
    wanted = f"<= {WANTED_SECONDS:g} s from embeddings"
    is_met = spread.median <= WANTED_SECONDS
    section.targets.append(Target(f"evaluate, {sizes}", wanted, f"{spread.cell()} s", is_met, note))
    scores, rows = top_k(task.queries, task.documents, DEPTH, options.threads)
    qrels, run = task.qrels(), run_of(scores, rows)
    systems = {
        "attune": partial(ndcg, rows, task.judgments),
        "pytrec_eval": partial(trec_eval, qrels, run),
        "ir-measures": partial(ir_measures, qrels, run),
    }
    with ExitStack() as stack:
        systems |= ranx(section, qrels, run, stack)
        compare(section, systems, options.rounds, "**From rankings**, the measures alone.")


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
