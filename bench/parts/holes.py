"""Hides half of a data set's judgments and asks what the report's interval, and judged pairs, tell of the whole.

Two rankings are compared, BM25 and an exported encoder's, or BM25 with English stems where no encoder is named. In each
repeat half of all judgments are hidden, but one answer of each query stays. The difference is then computed as judged,
at worst and at best (`evaluation.holes.bounds`), and again with the pairs that `attune judge --test` would ask for,
judged as the data set does; documents that it does not know count as no answers.

    python -m bench.parts.holes FOLDER [--encoder models/base_exported] [--repeats 20] [--pairs 100]

FOLDER has BEIR's layout, such as cranfield. Takes seconds, and as long as the encoder takes for the corpus.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attune.data.sources.beir import read_beir
from attune.evaluation.holes.bounds import BOUNDED, cases
from attune.evaluation.holes.pairs import most_telling
from attune.evaluation.holes.pool import Pool, Ranking
from attune.retrieval.bm25 import Bm25
from attune.retrieval.exact import top_k
from attune.retrieval.languages import stems_in
from attune.runtime import Embedder
from attune.runtime.arrays import Int64
from attune.tables import full_text
from bench.section import table

FIRST, SECOND, DEPTH, THREADS = "bm25", "other", 100, 2


class Trial(NamedTuple):
    """Mean differences of a measure between two rankings.

    Attributes:
        whole: by all judgments.
        hidden: by half of them.
        worst: by half of them, the unjudged documents as suits the first ranking.
        best: as suits the second.
        judged: by half of them and the judged pairs.
        n_answers: answers among the judged pairs.
    """

    whole: float
    hidden: float
    worst: float
    best: float
    judged: float
    n_answers: int

    @property
    def holds(self) -> bool:
        """Tells whether the interval holds the difference by all judgments."""
        return self.worst <= self.whole <= self.best


def read_pool(folder: Path, encoder: Path | None) -> Pool:
    """Ranks a data set's documents for its queries in both ways; returns them with all of its judgments."""
    raw = read_beir(folder)
    documents = [full_text(row.title, row.text) for row in raw.documents]
    queries = [query.text for query in raw.queries]
    rankings: dict[str, Ranking] = {FIRST: Bm25(documents).top_k(queries, DEPTH)}
    if encoder:
        embedder = Embedder(encoder, threads=THREADS)
        vectors = embedder.encode_query(queries), embedder.encode_document(documents)
        rankings[SECOND] = top_k(*vectors, DEPTH, THREADS)
    else:
        rankings[SECOND] = Bm25(documents, words_of=stems_in("en")).top_k(queries, DEPTH)
    rows = {query.query_id: row for row, query in enumerate(raw.queries)}
    columns = {document.document_id: row for row, document in enumerate(raw.documents)}
    judged = [(rows[q], columns[d], grade) for qrels in raw.qrels.values() for q, d, grade in qrels]
    return Pool(list(rows), list(columns), np.array(judged, dtype=np.int64), rankings)


def half(judgments: Int64, seed: int) -> Int64:
    """Returns a random half of the judgments, and one answer of each query that would have none."""
    order = np.random.default_rng(seed).permutation(len(judgments))
    shuffled = judgments[order]
    is_kept = np.arange(len(order)) < len(order) // 2
    answers = np.flatnonzero(shuffled[:, 2] > 0)
    first = answers[np.unique(shuffled[answers, 0], return_index=True)[1]]
    is_kept[first] = True
    return shuffled[is_kept]


def trial(pool: Pool, measured: str, n_pairs: int, seed: int) -> Trial:
    """Hides half of the judgments, and has some pairs judged by the others."""
    whole = cases(pool, FIRST, SECOND, measured).judged.mean()
    hidden = Pool(pool.query_ids, pool.document_ids, half(pool.judgments, seed), pool.rankings)
    found = cases(hidden, FIRST, SECOND, measured)
    truth = {(q, d): grade for q, d, grade in pool.judgments.tolist()}
    rows = ({id_: row for row, id_ in enumerate(ids)} for ids in (pool.query_ids, pool.document_ids))
    query_rows, document_rows = rows
    asked = [
        (query_rows[q], document_rows[d]) for q, d in most_telling(hidden, FIRST, SECOND, measured, n_pairs).iter_rows()
    ]
    added = np.array([(*pair, truth.get(pair, 0)) for pair in asked], dtype=np.int64).reshape(-1, 3)
    more = Pool(pool.query_ids, pool.document_ids, np.concatenate([hidden.judgments, added]), pool.rankings)
    judged = cases(more, FIRST, SECOND, measured).judged.mean()
    ends = float(found.worst.mean()), float(found.best.mean())
    return Trial(float(whole), float(found.judged.mean()), *ends, float(judged), int((added[:, 2] > 0).sum()))


def error(trials: list[Trial], name: str) -> float:
    """Returns the root mean square error of a difference, `hidden` or `judged`, against that by all judgments."""
    return float(np.sqrt(np.mean([(getattr(one, name) - one.whole) ** 2 for one in trials])))


def main() -> None:
    """Prints a row per measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=100)
    arguments = parser.parse_args()
    pool = read_pool(arguments.folder, arguments.encoder)
    rows = []
    for measured in BOUNDED:
        trials = [trial(pool, measured, arguments.pairs, seed) for seed in range(arguments.repeats)]
        means = np.mean([(one.hidden, one.worst, one.best, one.n_answers) for one in trials], axis=0)
        held = sum(one.holds for one in trials)
        errors = [f"{error(trials, name):.4f}" for name in ("hidden", "judged")]
        interval = f"{means[1]:+.3f} to {means[2]:+.3f}"
        answers = f"{means[3]:.0f} of {arguments.pairs}"
        counted = f"{held} of {len(trials)}"
        rows.append([measured, f"{trials[0].whole:+.4f}", f"{means[0]:+.4f}", interval, counted, *errors, answers])
    head = [
        "measure",
        "all judgments",
        "half",
        "worst to best",
        "holds",
        "error of half",
        "error with pairs",
        "answers",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
