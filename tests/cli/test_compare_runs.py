"""TREC runs of other engines: scored as trec_eval scores them, and refused in one line where they cannot be."""

from pathlib import Path

import ir_measures
import numpy as np
import polars as pl
import pytest
from ir_measures import AP, RR, R, nDCG

from attune.cli.compare.trec import TrecRun, read_run
from attune.errors import BadInput
from attune.evaluation.scoring.judgments import Split
from attune.evaluation.scoring.measures import measure
from attune.tables import CORPUS

CORPUS_IDS = [f"d{row}" for row in range(8)]
FRAME = pl.DataFrame(dict.fromkeys(CORPUS, CORPUS_IDS), schema=CORPUS)
QUERIES = ["q0", "q1", "q2"]
JUDGED = [("q0", "d1", 2), ("q0", "d3", 1), ("q1", "d0", 1), ("q2", "d5", 1)]
# out of order, ranks from 0, tabs, a document that the corpus lacks, a query of another split, an empty line
RUN = """\
q0 Q0 d3 2 1.5 mine
q0\tQ0\tstrange\t0\t9.0\tmine
q0 Q0 d1 1 2.5 mine

q1 Q0 d7 0 -3e-2 mine
q1 Q0 d0 1 -4e-2 mine
other Q0 d0 0 1.0 mine
"""


def split_of(own_texts: list[tuple[int, int]]) -> Split:
    judged = [(QUERIES.index(query), CORPUS_IDS.index(document), grade) for query, document, grade in JUDGED]
    return Split(
        name="dev",
        query_ids=pl.Series(QUERIES),
        texts=QUERIES,
        cluster_ids=pl.Series(QUERIES),
        judgments=np.array(judged),
        own_texts=np.array(own_texts, dtype=np.int64).reshape(-1, 2),
        rows=np.arange(3),
        n_in_file=3,
    )


def run_of(folder: Path, text: str) -> TrecRun:
    (folder / "run.txt").write_text(text)
    return read_run(folder / "run.txt", FRAME, set(QUERIES))


def refusal(folder: Path, text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        run_of(folder, text)
    return [str(line).removeprefix(f"{folder / 'run.txt'}") for line in caught.value.args]


def test_every_measure_equals_trec_evals(tmp_path: Path) -> None:
    """An unknown document keeps its rank, a query without lines scores 0, lines of other queries do not count."""
    run = run_of(tmp_path, RUN)
    scores, rows = run.ranked(split_of([]), FRAME)
    values = measure(rows, split_of([]).judgments, scores)
    scored = [line.split() for line in RUN.splitlines() if line]
    oracle = ir_measures.evaluator(
        [R @ 5, R @ 100, RR @ 10, nDCG @ 10, AP @ 100], [ir_measures.Qrel(*each) for each in JUDGED]
    )
    names = {R @ 5: "recall@5", R @ 100: "recall@100", RR @ 10: "mrr@10", nDCG @ 10: "ndcg@10", AP @ 100: "map@100"}
    found = {
        (names[one.measure], one.query_id): one.value
        for one in oracle.iter_calc([ir_measures.ScoredDoc(q, d, float(score)) for q, _, d, _, score, _ in scored])
    }
    assert len(found) == 15
    for (name, query_id), value in found.items():
        assert values[name][QUERIES.index(query_id)] == pytest.approx(value, abs=1e-9)
    assert values["mrr@10"].tolist() == [0.5, 0.5, 0]  # d1 behind the strange document; d0 behind d7; no line
    assert (run.n_unknown_documents, run.n_unordered, run.lacking(split_of([]))) == (1, 0, 1)


def test_equal_scores_have_no_order_and_own_texts_are_left_out(tmp_path: Path) -> None:
    """Of two tied documents one is relevant: the expected reciprocal rank is (1 + 1/2) / 2; as in all of attune."""
    run = run_of(tmp_path, "q1 Q0 d0 1 7 a\nq1 Q0 d1 2 7 a\nq2 Q0 d4 1 0.1234567891 a\nq2 Q0 d5 2 0.123456789 a\n")
    split = split_of([])
    scores, rows = run.ranked(split, FRAME)
    assert measure(rows, split.judgments, scores)["mrr@10"].tolist() == [0, 0.75, 0.5]
    without = split_of([(2, 4)])
    scores, rows = run.ranked(without, FRAME)
    assert measure(rows, without.judgments, scores)["mrr@10"].tolist() == [0, 0.75, 1]


def test_ranks_that_contradict_scores_are_counted(tmp_path: Path) -> None:
    """Distances in place of scores would turn every ranking round: the number of such queries says so."""
    assert run_of(tmp_path, "q0 Q0 d0 1 0.1 a\nq0 Q0 d1 2 0.9 a\nq1 Q0 d0 5 9 a\nq1 Q0 d1 6 8 a\n").n_unordered == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("q0 d0 1 2.0 a\n", ":1: got 5 fields, expected 6: query Q0 document rank score tag; mend the run"),
        ("\nq0 Q0 d0 1 nan a\n", ":2: rank 1 and score nan, expected a whole and a finite number; mend the run"),
        ("q0 Q0 d0 1 -inf a\n", ":1: rank 1 and score -inf, expected a whole and a finite number; mend the run"),
        ("q0 Q0 d0 first 1 a\n", ":1: rank first and score 1, expected a whole and a finite number; mend the run"),
        (
            "q0 Q0 d0 1 3 a\nq0 Q0 d1 2 2 a\nq0 Q0 d0 3 1 a\n",
            ":3: document d0 of query q0 stands in line 1 already; keep one",
        ),
        (
            "x Q0 d0 1 3 a\n",
            ": no line is of a query of dev or test; take their ids from data/splits/*/queries.parquet",
        ),
        ("", ": no line is of a query of dev or test; take their ids from data/splits/*/queries.parquet"),
    ],
)
def test_what_cannot_be_scored_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    """Place, what was got, what to do."""
    assert refusal(tmp_path, text) == [line]


def test_many_faults_are_counted_and_binary_files_are_named(tmp_path: Path) -> None:
    """Twenty lines and their number; a file of weights is no run."""
    lines = refusal(tmp_path, "q0 Q0 d0 1 nan a\n" * 30)
    assert len(lines) == 21 and lines[-1] == "30 problems; the first 20 are shown"
    (tmp_path / "run.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"run\.txt: not text in UTF-8 .*; expected a TREC run: query Q0 document"):
        read_run(tmp_path / "run.txt", FRAME, set(QUERIES))
