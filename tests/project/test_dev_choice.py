"""The bench of dev's choices: agreement of two corpora by hand, and corpora that hold one another."""

import math
import shutil
from argparse import Namespace
from pathlib import Path

import polars as pl
import pytest
from prepared_tables import write_corpus
from safetensors.torch import save_file

from attune.tables import CORPUS, DEV_SCORES, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, write
from bench.parts.dev_choice import agreement, candidates, dev_tasks, measure
from bench.section import ROOT


def test_agreement_by_hand() -> None:
    """Ranks 1 2 3 against 1 3 2: Spearman 1 - 6 * 2 / 24, Kendall (2 - 1) / 3; a loss of .8 - .75."""
    own = agreement([0.9, 0.93, 0.95], [0.7, 0.8, 0.75])
    assert own.chosen == 2 and own.loss == pytest.approx(0.05)
    assert own.spearman == pytest.approx(0.5) and own.kendall == pytest.approx(1 / 3)


def test_a_corpus_on_which_all_score_alike_has_no_rank_correlation() -> None:
    """Everything is found by all three: the first is chosen, at a loss of .1."""
    own = agreement([1.0, 1.0, 1.0], [0.7, 0.8, 0.75])
    assert own.chosen == 0 and own.loss == pytest.approx(0.1)
    assert math.isnan(own.spearman) and math.isnan(own.kendall)


def write_splits(folder: Path) -> None:
    """Writes one document of dev, 20 of train and one of test; dev has one query."""
    ids = ["d0", *(f"t{i}" for i in range(20)), "of test"]
    columns = {"document_id": ids, "title": [""] * 22, "text": ids, "duplicate_of": ids, "cluster_id": ids}
    write_corpus(pl.DataFrame(columns, schema=CORPUS), folder / "data/prepared")
    dev, train = folder / "data/splits/dev", folder / "data/splits/train"
    row = dict.fromkeys(SPLIT_QUERIES, "") | {"query_id": "q0", "text": "one"}
    write(pl.DataFrame([row], schema=dict(SPLIT_QUERIES)), dev / "queries.parquet", SPLIT_QUERIES)
    write(pl.DataFrame([("q0", "d0", 1)], QRELS, orient="row"), dev / "qrels.parquet", QRELS)
    write(pl.DataFrame({"document_id": ["d0"]}), dev / "documents.parquet", DOCUMENT_IDS)
    write(pl.DataFrame(schema=dict(OWN_TEXTS)), dev / "own_texts.parquet", OWN_TEXTS)
    write(pl.DataFrame({"document_id": ids[1:21]}), train / "documents.parquet", DOCUMENT_IDS)


@pytest.mark.parametrize(
    ("sizes", "documents", "expected"),
    [
        ([0, 5, 5000], None, {"dev's own: 1": 1, "dev's own + 5: 6": 6, "all allowed: 21": 21}),
        ([5, 0], 8, {"dev's own: 1": 1, "dev's own + 5: 6": 6, "all allowed: 9": 9}),
    ],
)
def test_each_corpus_holds_the_smaller_ones(
    tmp_path: Path, sizes: list[int], documents: int | None, expected: dict[str, int]
) -> None:
    """One document of dev and 20 of train; sizes beyond what is allowed are left out, the last is all of it."""
    write_splits(tmp_path)
    tasks = dev_tasks(tmp_path, sizes, documents)
    assert {name: len(task.corpus) for name, task in tasks.items()} == expected
    corpora = [set(task.corpus) for task in tasks.values()]
    assert corpora[0] < corpora[1] < corpora[2] and "of test" not in corpora[2]


def write_candidates(folder: Path) -> None:
    """Writes two checkpoints with the base's weights, each scored at two shares."""
    folder.mkdir(parents=True)
    for step in (4, 8):
        save_file({}, folder / f"{step}.safetensors")
    rows = [(0, 0.0), (4, 0.5), (4, 1.0), (8, 0.5), (8, 1.0)]
    scores = pl.DataFrame([(step, share, "q0", 1.0) for step, share in rows], dict(DEV_SCORES), orient="row")
    write(scores, folder / "scores.parquet", DEV_SCORES)


def test_the_tables_have_a_row_per_encoder_and_per_corpus(
    tmp_path: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Base, two candidates at share 1 and another encoder score the same, so the first is chosen and loses nothing."""
    write_splits(tmp_path)
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(tiny_encoder, tmp_path / "models" / "base")
    write_candidates(tmp_path / "models/rounds/r1/candidates/13")
    options = {"shares": [1.0], "encoders": [tiny_encoder], "sizes": [0, 5], "documents": None}
    measure(Namespace(folder=tmp_path, **options))
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    names = ["| base", "| step 4 at share 1", "| step 8 at share 1", f"| {tiny_encoder.name}"]
    assert [row[0] for row in rows[1:5]] == names
    assert rows[1][1:] == rows[2][1:] == rows[3][1:] == rows[4][1:]
    assert [row[:3] for row in rows[6:]] == [
        ["| dev's own: 1", "base", "0.0000"],
        ["| dev's own + 5: 6", "base", "0.0000"],
        ["| all allowed: 21", "base", "0.0000"],
    ]


def test_all_shares_are_taken_unless_some_are_named(tmp_path: Path) -> None:
    """Base and four candidates; of one share, base and two."""
    write_candidates(tmp_path / "13")
    assert candidates(tmp_path / "13", None) == [(0, 0.0), (4, 0.5), (4, 1.0), (8, 0.5), (8, 1.0)]
    assert candidates(tmp_path / "13", [0.5]) == [(0, 0.0), (4, 0.5), (8, 0.5)]
