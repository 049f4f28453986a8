"""Evaluating: from embeddings to measures, beside sentence-transformers, ir-measures, pytrec_eval and ranx; 2 minutes.

    python -m bench.parts.evaluate [--queries 10000] [--documents 10000] [--rounds 5]

Embeddings are drawn at random, queries near their answers. From embeddings, everything counts; from rankings, the
others get dictionaries that were made before. All measure the same (recall, MRR, nDCG, MAP), and their nDCG@10 must
agree. ranx needs numba, so it is no dependency, but has an environment of its own (bench/ranx.txt), made once.
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
MEASURES = (*(f"recall.{k}" for k in RECALL_AT), "recip_rank", "ndcg_cut.10", "map")  # as trec_eval calls them
Score = Callable[[], float]  # does all the work; nDCG@10


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


def ranx(section: Section, qrels: object, run: object, stack: ExitStack) -> dict[str, Score]:
    """By ranx, in an environment of its own; nothing if that cannot be."""
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
    with ExitStack() as stack:
        competitors |= ranx(section, qrels, run, stack)
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
