"""Several training seeds are scored as evaluate scores them; their spread widens the interval of the delta."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import build_tiny_encoder
from prepared_tables import write_split, write_word_pairs

from attune.encoding.scored import Way
from attune.errors import BadInput
from attune.evaluation.scoring.measures import MEASURES
from attune.evaluation.statistics.clusters import numbered
from attune.evaluation.statistics.significance import compare
from attune.stage import Machine, call
from attune.stages.embed import EmbedParams, embed
from attune.stages.evaluate import EvaluateParams, evaluate
from attune.stages.seeds import REPORTED, SeedsParams, seeds
from attune.tables import SPLIT_QUERIES, read, seed_scores_columns

MACHINE = Machine(threads=1, precision="fp32", batch_tokens=512)
CONFIDENCE = 0.9
WORDS = "array graph matrix mean sum sort tree edge node vector signal table column index query filter".split()


class Case:
    """A corpus of word pairs, dev and test queries with one or two graded answers, and encoders of three seeds."""

    def __init__(self, root: Path, base: Path) -> None:
        self.root = root
        pairs = [(one, other) for one in WORDS for other in WORDS if one < other]
        ids = write_word_pairs(pairs, root / "prepared")
        parts = {"train": pairs[:1], "dev": pairs[1:20], "test": pairs[20:60], "paraphrases": []}
        for split, of_pairs in parts.items():
            names = [f"{split}{i:02}" for i in reversed(range(len(of_pairs)))]
            columns = {"query_id": names, "text": [f"find {b} and {a}" for a, b in of_pairs]}
            columns["cluster_id"] = [f"c{number // 2}" for number in range(len(names))]
            rows = [pairs.index(pair) for pair in of_pairs]
            judged = [(name, ids[row], 2) for name, row in zip(names, rows, strict=True)]
            judged += [(name, ids[row + 50], 1) for name, row in zip(names[::3], rows[::3], strict=True)]
            write_split(root / f"splits/{split}", columns, sorted(judged))
        self.encoders = {"base": base}
        for seed in (13, 4, 21):
            self.encoders[str(seed)] = build_tiny_encoder(root / f"encoder{seed}", seed=seed)
        self.evaluate("base", "base")
        self.evaluate("13", "tuned")
        self.give(13, [])

    def evaluate(self, encoder: str, name: str) -> None:
        """Files that embed and evaluate leave in data/runs."""
        vectors = self.root / "embeddings" / encoder
        common = {"prepared": self.root / "prepared", "splits": self.root / "splits"}
        model = self.encoders[encoder]
        encoding = EmbedParams(processes=1, machine=MACHINE)
        # in torch, as stage seeds runs them: the splits of tuned, the way of an encoder without a graph
        way = Way("torch", "cpu", MACHINE.precision)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("attune.stages.embed.way_of", lambda *_: way)
            call(embed, encoding, None, system="tuned", model=model, exported=model, out=vectors, **common)
        settings = EvaluateParams(
            depth=100,
            n_train_sample=10,
            n_groups=5,
            truncate_dims=[],
            machine=MACHINE,
            bm25_k1=1.2,
            bm25_b=0.75,
            bm25_language="",
            champion="",
        )
        evaluate(
            settings,
            system=name,
            input=vectors,
            beside=vectors,
            out=self.root / "runs" / name,
            groups=self.root / f"{name}.csv",
            **common,
        )

    def give(self, first: int, others: list[int]) -> None:
        """Folders that merge leaves in models/seeds."""
        models = self.root / "models"
        models.mkdir(exist_ok=True)
        (models / "seeds.json").write_text(json.dumps({"first": first, "others": others}))
        for seed in others:
            if not (models / str(seed)).exists():
                (models / str(seed)).symlink_to(self.encoders[str(seed)])

    def run(self) -> dict[str, Any]:
        paths = {"models": self.root / "models", "prepared": self.root / "prepared", "splits": self.root / "splits"}
        receipt = self.root / "seeds.json"
        call(
            seeds,
            SeedsParams(machine=MACHINE),
            receipt,
            **paths,
            runs=self.root / "runs",
            out=self.root / "out",
            confidence=CONFIDENCE,
        )
        return dict(json.loads(receipt.read_text()))

    def scores(self, path: str) -> pl.DataFrame:
        return pl.read_parquet(self.root / path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Case:
    return Case(tmp_path_factory.mktemp("seeds"), tiny_encoder)


def on_test(scores: pl.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return scores.filter(pl.col("split") == "test").sort("query_id")[name].to_numpy()


def test_one_seed_is_the_tuned_system_with_the_interval_of_the_comparison(whole: Case) -> None:
    """No spread, nothing new: n_seeds 1, sd 0, means and interval as the report finds them."""
    whole.give(13, [])
    receipt = whole.run()
    base, tuned = (whole.scores(f"runs/{name}/scores.parquet") for name in ("base", "tuned"))
    sides = [{name: on_test(side, name) for name in REPORTED} for side in (base, tuned)]
    test = read(whole.root / "splits/test/queries.parquet", SPLIT_QUERIES).sort("query_id")
    clusters = numbered(test["cluster_id"].to_list())
    assert 1 < clusters.max() + 1 < test.height
    comparison = compare(*sides, clusters, CONFIDENCE)
    assert receipt["n_seeds"] == 1
    for name in REPORTED:
        assert receipt[f"sd_{name}"] == 0
        assert receipt[f"mean_{name}"] == pytest.approx(sides[1][name].mean(), abs=1e-6)
        for key in ("delta", "ci_low", "ci_high"):
            assert receipt[f"{key}_{name}"] == pytest.approx(getattr(comparison[name], key), abs=1e-6)
    written = whole.scores("out/scores.parquet")
    assert written["seed"].unique().to_list() == [13]
    assert written.drop("seed").equals(tuned.filter(pl.col("split") != "train").sort("query_id"))


def test_one_seed_never_loads_torch(whole: Case) -> None:
    """Nothing is encoded; checked in a process of its own."""
    whole.give(13, [])
    root = str(whole.root)
    program = (
        "import sys; from pathlib import Path; from attune.stages.seeds import SeedsParams, seeds;"
        "r = Path(sys.argv[1]);"
        f"seeds(SeedsParams.model_validate({{'machine': {MACHINE.model_dump()!r}}}), models=r/'models',"
        f"prepared=r/'prepared', splits=r/'splits', runs=r/'runs', out=r/'alone', confidence=0.9);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_other_seeds_are_scored_exactly_as_evaluate_scores_them(whole: Case) -> None:
    """Every measure of every dev and test query, by embed and evaluate on the same encoder."""
    whole.give(13, [4, 21])
    whole.run()
    written = whole.scores("out/scores.parquet")
    assert dict(written.schema) == dict(seed_scores_columns(MEASURES))
    assert written.equals(written.sort("seed", "query_id"))
    assert written["seed"].unique().to_list() == [4, 13, 21]
    for seed in (4, 21):
        whole.evaluate(str(seed), f"check{seed}")
        expected = whole.scores(f"runs/check{seed}/scores.parquet").filter(pl.col("split") != "train")
        assert written.filter(pl.col("seed") == seed).drop("seed").equals(expected)


def test_the_receipt_by_hand(whole: Case) -> None:
    """Mean and sample deviation of the seeds' means; the delta is their mean less base's, inside a wider interval."""
    whole.give(13, [4, 21])
    receipt = whole.run()
    keys = [f"{key}_{name}" for name in REPORTED for key in ("mean", "sd", "delta", "ci_low", "ci_high")]
    assert list(receipt) == ["n_seeds", *keys]
    assert receipt["n_seeds"] == 3
    written, base = whole.scores("out/scores.parquet"), whole.scores("runs/base/scores.parquet")
    for name in REPORTED:
        a, b, c = (on_test(written.filter(pl.col("seed") == seed), name).mean() for seed in (4, 13, 21))
        mean = (a + b + c) / 3
        assert receipt[f"mean_{name}"] == pytest.approx(mean, abs=1e-6)
        spread = (((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2) ** 0.5
        assert 0 < receipt[f"sd_{name}"] == pytest.approx(spread, abs=1e-6)
        assert receipt[f"delta_{name}"] == pytest.approx(mean - on_test(base, name).mean(), abs=1e-6)
        assert receipt[f"ci_low_{name}"] < receipt[f"delta_{name}"] < receipt[f"ci_high_{name}"]


def test_the_same_input_gives_the_same_bytes(whole: Case) -> None:
    """Receipt and table are byte-identical when repeated."""
    whole.give(13, [4])
    one = whole.run()
    table = (whole.root / "out/scores.parquet").read_bytes()
    assert whole.run() == one
    assert (whole.root / "out/scores.parquet").read_bytes() == table


@pytest.mark.parametrize("content", ["{", "[]", '{"first": 13}', '{"first": "x", "others": []}'])
def test_a_damaged_list_of_seeds_is_one_line(whole: Case, content: str) -> None:
    """Damaged and missing seeds.json name the file and the remedy."""
    (whole.root / "models/seeds.json").write_text(content)
    with pytest.raises(BadInput, match=r"seeds\.json: not what merge writes"):
        whole.run()
    (whole.root / "models/seeds.json").unlink()
    with pytest.raises(BadInput, match=r"seeds\.json: not found"):
        whole.run()


def test_scores_of_other_queries_are_refused(whole: Case, tmp_path: Path) -> None:
    """Base scored on one test query less than the seeds."""
    whole.give(13, [])
    path = whole.root / "runs/base/scores.parquet"
    kept = path.read_bytes()
    pl.read_parquet(path).filter(pl.col("query_id") != "test00").write_parquet(path)
    try:
        with pytest.raises(BadInput, match="scored on different test queries"):
            whole.run()
    finally:
        path.write_bytes(kept)
