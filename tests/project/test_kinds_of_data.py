"""Kinds of data that people bring, each from `attune check` to the report, with what must come out of it.

Made here, on the miniature's scale, with the default encoder's first layer; Cranfield from ATTUNE_DATASETS.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import miniature
import polars as pl
import pytest

pytestmark = pytest.mark.slow

DATASETS = Path(os.environ.get("ATTUNE_DATASETS", miniature.ROOT.parent / "shared" / "datasets"))
NOUNS = """
anchor barrel basket bottle bridge camera candle carpet castle copper doctor engine forest garden hammer harbor helmet
island jacket kettle ladder market mirror needle pencil pepper rabbit river rocket saddle teacher temple ticket tunnel
umbrella violin wallet window
""".split()
VERBS = (
    "borrow carry clean collect deliver describe donate freeze hide inspect measure paint polish repair rotate".split()
)
KINDS = "ancient broken crooked dusty enormous fragile frozen gentle heavy hollow narrow silent silver wooden".split()

Pairs = Sequence[tuple[str, str]]
Changes = dict[str, dict[str, Any]]


def sentence(draw: random.Random) -> str:
    """Returns a question of some thirteen words."""
    first, second, third = (f"{draw.choice(KINDS)} {draw.choice(NOUNS)}" for _ in range(3))
    return f"how to {draw.choice(VERBS)} the {first} near a {second} before you {draw.choice(VERBS)} the {third}"


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def topics(folder: Path) -> None:
    """Writes 600 queries and 500 documents about one to three of 40 topics; where topics meet, both are relevant."""
    draw = random.Random(11)
    words = [f"{kind} {noun}" for kind in KINDS for noun in NOUNS]
    about = [draw.sample(words, 6) for _ in range(40)]
    of_document = [draw.sample(range(40), draw.choice((1, 1, 2, 3))) for _ in range(500)]
    of_query = [draw.sample(range(40), draw.choice((1, 1, 2))) for _ in range(600)]

    def told(topic: int) -> str:
        return f"{draw.choice(VERBS)} the {draw.choice(about[topic])}"

    texts = [". ".join(told(topic) for topic in own for _ in range(4)) for own in of_document]
    questions = [" and ".join(told(topic) for topic in own) for own in of_query]
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)])
    write_lines(folder / "queries.jsonl", [{"_id": f"q{i}", "text": text} for i, text in enumerate(questions)])
    judged = ["query-id\tcorpus-id\tscore"]
    for i, own in enumerate(of_query):
        common = [len({*own} & {*other}) for other in of_document]
        judged += [f"q{i}\td{j}\t{n}" for j, n in enumerate(common) if n]
    (folder / "qrels").mkdir()
    (folder / "qrels/all.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")


def write_pairs(file: Path, pairs: Pairs) -> None:
    write_lines(file, [{"query": query, "document": document} for query, document in pairs])


def intents() -> Pairs:
    """Returns messages and the names of their intents: each of 30 documents has 14 queries."""
    draw = random.Random(7)
    names = [f"{KINDS[place % len(KINDS)]} {noun}" for place, noun in enumerate(NOUNS[:30])]
    return [(f"{sentence(draw)}, my {name.split()[1]}", name) for name in names for _ in range(14)]


def both_ways() -> Pairs:
    """Returns 180 pairs of like sentences, each in both directions."""
    draw = random.Random(5)
    firsts = [sentence(draw) for _ in range(180)]
    pairs = [(text, text.replace("how to", "the way to").replace("before you", "and then")) for text in firsts]
    return [*pairs, *((second, first) for first, second in pairs)]


def chained() -> Pairs:
    """Returns 150 chains of questions in wholly other words, as a -> b and b -> c."""
    draw = random.Random(3)
    chains = [[sentence(draw) for _ in range(3)] for _ in range(150)]
    return [pair for a, b, c in chains for pair in ((a, b), (b, c))]


def spaceless() -> Pairs:
    """Returns 170 Chinese questions and answers that share their words."""
    things = "手机 电脑 相机 耳机 键盘 鼠标 冰箱 空调 洗衣机 电视 路由器 打印机 手表 台灯 风扇 热水器 微波炉"
    acts = "退货 换货 维修 保养 安装 升级 清洁 充电 重启 报价"
    return [
        (
            f"我的{thing}怎么{act}",
            f"关于{thing}{act}的说明：请先联系客服，然后按照步骤完成{act}，{thing}会在三天内处理。",
        )
        for thing in things.split()
        for act in acts.split()
    ]


def empty_cells() -> Pairs:
    """Returns 240 pairs of which every sixth query is the word nan, as a spreadsheet was written."""
    draw = random.Random(9)
    return [("nan" if place % 6 == 0 else (text := sentence(draw)), f"{text}: ask first") for place in range(1, 241)]


class Finished(NamedTuple):
    """Checks of the data, and a pipeline that ran to its report.

    Attributes:
        checks: title, status and sentence of each check of the data, by its code.
        folder: of the pipeline.
    """

    checks: dict[str, dict[str, str]]
    folder: Path

    def receipt(self, name: str) -> dict[str, Any]:
        """Reads a receipt of metrics/."""
        figures: dict[str, Any] = json.loads((self.folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
        return figures

    @property
    def delta(self) -> dict[str, float]:
        """Tuned minus base in nDCG@10 on test, with its interval."""
        paired: dict[str, float] = self.receipt("report")["paired"]["ndcg@10"]
        return paired


Run = Callable[[Path, Changes], Finished]


@pytest.fixture
def run(tmp_path: Path, quick: Changes) -> Run:
    """Returns what checks data and runs the pipeline on them to its report."""

    def checked_and_run(data: Path, changes: Changes) -> Finished:
        folder, source = tmp_path / "pipeline", "beir" if data.is_dir() else "pairs"
        miniature.make(folder, changes | {"collect": {"source": source, "path": str(data)}} | quick)
        command = [sys.executable, "-m", "attune", "check", str(data), "--source", source, "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        miniature.dvc(folder, "repro", "report")
        return Finished(json.loads(done.stdout)["checks"], folder)

    return checked_and_run


def test_many_to_many_gains_by_query(tmp_path: Path, run: Run) -> None:
    """Refused by cluster, with the way out; by query batches are full, all documents are known, and nDCG@10 rises."""
    topics(tmp_path / "topics")
    training = {"epochs": 3, "learning_rate": 5e-4, "max_pairs_per_query": 4}
    made = run(tmp_path / "topics", {"split": {"by": "query", "test_share": 0.3}, "train": training})
    assert made.checks["ATT031"]["status"] == "passed"
    split, trained = made.receipt("split"), made.receipt("train")
    assert split["by"] == "query" and split["test_known_answers_share"] > 0.95
    assert 0.2 < split["n_test_queries"] / 600 < 0.4 and trained["mean_batch_fill"] >= 0.95
    assert made.delta["ci_low"] > 0
    miniature.change(made.folder, {"split": {"by": "cluster"}})
    refused = miniature.dvc(made.folder, "repro", "--single-item", "split", check=False)
    assert refused.returncode and "split.by: query" in refused.stderr + refused.stdout


def test_cranfield_loses_nothing_by_query(run: Run) -> None:
    """Real graded judgments, all of one component: usable shares of dev and test, full batches, no certain loss."""
    if not (data := DATASETS / "cranfield").is_dir():
        pytest.skip(f"{data} not found; set ATTUNE_DATASETS")
    made = run(data, {"split": {"by": "query"}})
    split = made.receipt("split")
    assert min(split["n_dev_queries"], split["n_test_queries"]) > 15
    assert made.receipt("train")["mean_batch_fill"] >= 0.95 and made.delta["ci_high"] > 0


def test_intents_are_new_queries_for_known_labels(tmp_path: Path, run: Run) -> None:
    """Documents that look like labels are named by the check; the report says that queries alone are new."""
    write_pairs(tmp_path / "intents.jsonl", intents())
    made = run(tmp_path / "intents.jsonl", {"split": {"by": "query"}})
    assert made.checks["ATT038"]["status"] == "failed"
    assert made.receipt("report")["new_in_test"].startswith("new queries over known documents")
    assert made.delta["ci_high"] > 0


@pytest.mark.parametrize("make", [both_ways, chained])
def test_queries_that_are_documents_leak_nowhere(tmp_path: Path, run: Run, make: Callable[[], Pairs]) -> None:
    """The check advises to leave own texts out; no text of test is a text of train, in either role, and none leaks."""
    write_pairs(tmp_path / "pairs.jsonl", make())
    made = run(tmp_path / "pairs.jsonl", {"split": {"leave_out_own_text": True}})
    assert made.checks["ATT039"]["status"] == "failed"
    split = made.receipt("split")
    assert not any(n for key, n in split.items() if "_leaks." in key)
    texts = {}
    for name in ("train", "test"):
        of_split = made.folder / f"data/splits/{name}"
        documents = pl.read_parquet(of_split / "documents.parquet").join(
            pl.read_parquet(made.folder / "data/prepared/corpus.parquet"), on="document_id"
        )
        texts[name] = {*pl.read_parquet(of_split / "queries.parquet")["text"], *documents["text"]}
    assert not texts["train"] & texts["test"]


def test_words_find_answers_without_spaces(tmp_path: Path, run: Run) -> None:
    """Chinese: BM25 finds nearly all answers among the first ten."""
    write_pairs(tmp_path / "spaceless.jsonl", spaceless())
    made = run(tmp_path / "spaceless.jsonl", {"split": {"by": "query"}})
    assert made.receipt("bm25")["recall@10"] >= 0.95


def test_empty_cells_are_named(tmp_path: Path, run: Run) -> None:
    """A query *nan* with forty answers: the check names it; the rest runs to its report."""
    write_pairs(tmp_path / "cells.jsonl", empty_cells())
    made = run(tmp_path / "cells.jsonl", {"split": {"by": "query"}})
    assert made.checks["ATT037"]["status"] == "failed" and "nan" in made.checks["ATT037"]["sentence"]
    assert made.receipt("report")["n_test_queries"] > 20
