"""Merging chooses the smallest share that keeps general text, near domain and dev gain; shares 0 and 1 are exact."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from conftest import build_tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.errors import BadInput
from attune.stage import call
from attune.stages.merge import (
    Choice,
    Floors,
    MergeParams,
    Share,
    choose,
    curve,
    general_task,
    kept,
    merge,
    read_near_domain,
    score_shares,
)
from attune.tables import CORPUS, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, write
from attune.tuning.dev import RetrievalTask, read_dev
from attune.tuning.general_text import GeneralText, Pair, read_general_text
from attune.tuning.interpolation import Interpolation, interpolate

WORDS = "array graph matrix mean sum sort tree edge node vector signal table column index query filter".split()
WEIGHTS = "model.safetensors"
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


def bits(weights: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: value.cpu().numpy().tobytes() for name, value in weights.items()}


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=20), st.floats(0, 1))
def test_each_float_is_the_weighted_mean_rounded_once(pairs: list[tuple[float, float]], share: float) -> None:
    """Against the formula in float64; equal weights stay as they are to the bit, -0.0 too."""
    base, tuned = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    mean = interpolate({"w": base}, {"w": tuned}, share)["w"]
    exact = share * tuned.double() + (1 - share) * base.double()
    assert mean.dtype == torch.float32
    scale = torch.maximum(base.abs(), tuned.abs()).double()
    assert (
        (mean.double() - exact).abs() <= scale * 2**-23 + 2**-149
    ).all()  # one step of float32, or of the smallest float
    for start, end, value in zip(base, tuned, mean, strict=True):
        assert min(start, end) <= value <= max(start, end)
    assert bits(interpolate({"w": tuned}, {"w": tuned.clone()}, share)) == bits({"w": tuned})
    assert bits(interpolate({"w": base}, {"w": tuned}, 1.0)) == bits({"w": tuned})
    assert interpolate({"w": base}, {"w": tuned}, 0.0)["w"].equal(base)


def test_tensors_without_floats_are_the_tuned_ones() -> None:
    """3/4 of 8 and 1/4 of 4 is 7; integers are copied; the tuned types stay."""
    base = {"w": torch.tensor([4.0, 0.0]), "ids": torch.tensor([1, 2]), "h": torch.tensor([1.0], dtype=torch.bfloat16)}
    tuned = {"w": torch.tensor([8.0, 4.0]), "ids": torch.tensor([3, 4]), "h": torch.tensor([3.0], dtype=torch.bfloat16)}
    mixed = interpolate(base, tuned, 0.75)
    assert mixed["w"].tolist() == [7.0, 3.0]
    assert mixed["ids"].tolist() == [3, 4]
    assert mixed["h"].dtype == torch.bfloat16 and mixed["h"].item() == 2.5


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        ({"w": torch.zeros(2, 4)}, r"1 tensors .*first: w, got \(2, 4\), expected \(2, 3\)"),
        ({"w": torch.zeros(2, 3), "more": torch.zeros(1)}, r"first: more, got \(1,\), expected absent"),
        ({}, r"first: w, got absent, expected \(2, 3\)"),
    ],
)
def test_encoders_of_another_shape_are_refused(tuned: dict[str, torch.Tensor], words: str) -> None:
    """Another shape, an additional and a missing tensor: the message names the first one."""
    with pytest.raises(BadInput, match=words):
        interpolate({"w": torch.zeros(2, 3)}, tuned, 0.5)


BASE = Share(0.0, 0.5, 0.8)


@pytest.mark.parametrize(
    ("shares", "expected", "is_met"),
    [
        # 1.0 is best on dev, but keeps only .875 of the general score
        ([(0.6, 0.60, 0.80), (0.8, 0.70, 0.79), (1.0, 0.75, 0.70)], 0.8, True),
        # of the gain of .2, .18 has to be left: .68
        ([(0.6, 0.679, 0.80), (0.8, 0.681, 0.79), (1.0, 0.70, 0.80)], 0.8, True),
        # exactly .68 is enough, and the smallest share wins over better scores
        ([(0.6, 0.68, 0.79), (0.8, 0.70, 0.80), (1.0, 0.69, 0.79)], 0.6, True),
        # the gain is that of the best share that meets min_retention, not of 1.0
        ([(0.6, 0.69, 0.80), (0.8, 0.70, 0.79), (1.0, 0.90, 0.70)], 0.6, True),
        # a small gain counts, too
        ([(0.6, 0.498, 0.80), (0.8, 0.502, 0.79)], 0.8, True),
        # without a gain the best on dev is chosen
        ([(0.6, 0.45, 0.80), (1.0, 0.49, 0.79)], 1.0, True),
        # equal on dev to 6 digits
        ([(0.6, 0.49, 0.80), (0.8, 0.4900004, 0.80)], 0.6, True),
        # none keeps .98: the best general score is chosen
        ([(0.6, 0.60, 0.60), (0.8, 0.90, 0.55), (1.0, 0.95, 0.50)], 0.6, False),
        # ... and among equal ones the best on dev
        ([(0.6, 0.60, 0.60), (1.0, 0.70, 0.60)], 1.0, False),
        ([(0.6, 0.60, 0.60), (1.0, 0.70, 0.5999999)], 1.0, False),
        # the only candidate is chosen, though worse than the base on dev
        ([(1.0, 0.40, 0.90)], 1.0, True),
    ],
)
def test_the_smallest_share_that_keeps_general_score_and_gain_is_chosen(
    shares: list[tuple[float, float, float]], expected: float, is_met: bool
) -> None:
    """Case by case, with min_retention .98 and min_gain_kept .9."""
    choice = choose([Share(*share) for share in shares], BASE, Floors(0.98, 1.0), 0.9)
    assert (choice.share.weight, choice.is_retention_met) == (expected, is_met)


NEAR_BASE = Share(0.0, 0.5, 0.8, (0.6, 0.4))


@pytest.mark.parametrize(
    ("shares", "min_near_domain", "expected", "is_met"),
    [
        # 0.6 loses on the first task, 0.8 on the second, however good the mean and dev are: 0.4 is left
        ([(0.4, 0.6, 0.8, (0.6, 0.4)), (0.6, 0.7, 0.8, (0.59, 0.5)), (0.8, 0.8, 0.8, (0.7, 0.39))], 1.0, 0.4, (1, 1)),
        # .95 of .6 is .57: 0.6 is allowed, 0.8 keeps .9 of it
        ([(0.4, 0.6, 0.8, (0.6, 0.4)), (0.6, 0.7, 0.8, (0.575, 0.4)), (0.8, 0.8, 0.8, (0.54, 0.4))], 0.95, 0.6, (1, 1)),
        # a floor of 0 allows everything
        ([(0.4, 0.6, 0.8, (0.6, 0.4)), (0.8, 0.8, 0.8, (0.0, 0.0))], 0.0, 0.8, (1, 1)),
        # 0.4 meets one floor and 0.6 the other, none both: 0.4 falls .03 short, 0.6 by .08 (of .98)
        ([(0.4, 0.6, 0.8, (0.582, 0.4)), (0.6, 0.7, 0.72, (0.6, 0.4))], 1.0, 0.4, (1, 0)),
        # 0.4 falls .1 short near the domain, 0.6 by .08 on general text
        ([(0.4, 0.6, 0.8, (0.54, 0.4)), (0.6, 0.7, 0.72, (0.6, 0.4))], 1.0, 0.6, (0, 1)),
        # the worst floor counts: 0.4 misses by .05 once, 0.6 by .04 on each task and .03 on general text
        ([(0.4, 0.6, 0.8, (0.57, 0.4)), (0.6, 0.7, 0.76, (0.576, 0.384))], 1.0, 0.6, (0, 0)),
        # equally short: the better on dev; then the smaller share
        ([(0.4, 0.6, 0.8, (0.57, 0.4)), (0.6, 0.7, 0.8, (0.6, 0.38))], 1.0, 0.6, (1, 0)),
        ([(0.4, 0.7, 0.8, (0.57, 0.4)), (0.6, 0.7, 0.8, (0.6, 0.38))], 1.0, 0.4, (1, 0)),
        # the base itself, where it is a candidate
        ([(0.0, 0.5, 0.8, (0.6, 0.4)), (0.6, 0.7, 0.8, (0.5, 0.4))], 1.0, 0.0, (1, 1)),
    ],
)
def test_every_near_domain_task_has_to_keep_the_bases_score(
    shares: list[tuple[float, float, float, tuple[float, ...]]],
    min_near_domain: float,
    expected: float,
    is_met: tuple[int, int],
) -> None:
    """Case by case, with min_retention .98 and min_gain_kept 1; a mean over tasks does not make up for one of them."""
    choice = choose([Share(*share) for share in shares], NEAR_BASE, Floors(0.98, min_near_domain), 1.0)
    assert choice.share.weight == expected
    assert (choice.is_retention_met, choice.is_near_domain_met) == is_met


def test_a_score_equal_to_the_base_meets_a_floor_of_1() -> None:
    """Exactly the base's scores qualify; where the base scores 0, there is nothing to lose."""
    same = Share(1.0, 0.6, BASE.general, (0.1, 0.0))
    base = BASE._replace(near_domain=(0.1, 0.0))
    assert choose([same], base, Floors(1.0, 1.0), 1.0) == Choice(same, True, True)
    assert kept(0.0, 0.0) == 1.0 and kept(0.3, 0.4) == pytest.approx(0.75)


SCORES = st.floats(0, 1)


@given(
    st.lists(st.tuples(SCORES, SCORES, SCORES, st.tuples(SCORES, SCORES)), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(max_examples=200)
def test_the_chosen_share_keeps_the_gain_and_no_smaller_one_does(
    shares: list[tuple[float, float, float, tuple[float, float]]],
    min_retention: float,
    min_near_domain: float,
    min_gain_kept: float,
) -> None:
    """Against the definition in plain Python, at random scores and limits."""
    candidates = [Share(*share) for share in shares]
    choice = choose(candidates, NEAR_BASE, Floors(min_retention, min_near_domain), min_gain_kept)
    allowed = [
        share
        for share in candidates
        if share.general / 0.8 >= min_retention
        and share.near_domain[0] / 0.6 >= min_near_domain
        and share.near_domain[1] / 0.4 >= min_near_domain
    ]
    assert (choice.is_retention_met and choice.is_near_domain_met) == bool(allowed)
    if allowed:
        gain = max(share.dev for share in allowed) - NEAR_BASE.dev
        required = NEAR_BASE.dev + (min_gain_kept * gain if gain > 0 else gain)
        assert choice.share in allowed and choice.share.dev >= required - 2e-6
        assert all(share.dev < required for share in allowed if share.weight < choice.share.weight)
    else:
        short = [
            max(min_retention - general / 0.8, min_near_domain - one / 0.6, min_near_domain - two / 0.4)
            for _, _, general, (one, two) in candidates
        ]
        assert short[candidates.index(choice.share)] <= min(short) + 1e-6


def test_the_curve_has_the_mean_of_the_near_domain_tasks() -> None:
    """.6 and .4 give .5; without tasks the cell is empty."""
    shares = [NEAR_BASE, Share(1.0, 0.7, 0.7, (0.5, 0.1))]
    assert curve(shares, shares[1])["near_domain_ndcg@10"].to_list() == [0.5, 0.3]
    assert curve([BASE], BASE)["near_domain_ndcg@10"].to_list() == [None]


@pytest.mark.parametrize(("min_gain_kept", "weight"), [(1.0, 1.0), (0.98, 0.5)])
def test_the_stage_gives_up_as_much_gain_as_min_gain_kept_allows(
    case: "Case", monkeypatch: pytest.MonkeyPatch, min_gain_kept: float, weight: float
) -> None:
    """Half of the weights have .99 of the gain: enough at .98, too little at 1."""
    shares = [Share(0.0, 0.5, 0.8), Share(0.5, 0.698, 0.79), Share(1.0, 0.70, 0.79)]
    monkeypatch.setattr("attune.stages.merge.score_shares", lambda *_: shares)
    assert case.run(shares=[0.5, 1.0], min_gain_kept=min_gain_kept)["share"] == weight


def test_the_general_task_is_of_the_evaluation_half_alone() -> None:
    """Two answers to one question, one passage for two; passages of the train half are no distractors."""
    general = GeneralText([Pair("f", "P1"), Pair("g", "P2")], [Pair("a", "P3"), Pair("a", "P1"), Pair("b", "P3")])
    task = general_task(general)
    assert task.queries == {"a": "a", "b": "b"}
    assert list(task.corpus) == ["P1", "P3"]
    assert task.relevant == {"a": {"P3", "P1"}, "b": {"P3"}}


@pytest.mark.parametrize(
    "change",
    [
        {"shares": []},
        {"shares": [1.2]},
        {"shares": [-0.1]},
        {"round": "../r1"},
        {"min_retention": 1.1},
        {"min_near_domain": 1.1},
        {"min_near_domain": -0.1},
        {"min_gain_kept": -0.1},
        {"min_gain_kept": 1.1},
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, Any]) -> None:
    """Shares outside 0..1 or none at all, limits outside 0..1, and a round that is a path."""
    with pytest.raises(ValidationError):
        params(**change)


def params(**changes: object) -> MergeParams:
    values: dict[str, object] = {
        "round": "r1",
        "shares": [1.0],
        "min_retention": 0.0,
        "min_near_domain": 0.0,
        "min_gain_kept": 1.0,
        "general": "general.jsonl",
    }
    machine = {"threads": 1, "precision": "fp32", "batch_tokens": 4096}
    return MergeParams.model_validate(values | {"machine": machine} | changes)


class Case:
    """A base, a round of two seeds, 16 dev documents of two words with a query each, 16 of train, and general pairs."""

    def __init__(self, root: Path, base: Path) -> None:
        self.root = root
        self.base = Path(shutil.copytree(base, root / "base"))
        (self.base / "attune.json").write_text('{"model": "tiny"}\n')
        for seed in (13, 7):
            self.tune(seed, 0.3)
        pairs = list(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True))
        ids = [f"d{i:02}" for i in range(len(pairs))]
        texts = [f"{one} {other} of the data" for one, other in pairs]
        others = [f"t{i:02}" for i in range(len(pairs))]
        texts += [f"{one} of every {other}" for one, other in pairs]
        every = [*ids, *others]
        columns = {"document_id": every, "title": [""] * 32, "text": texts, "duplicate_of": every, "cluster_id": every}
        write(pl.DataFrame(columns, schema=CORPUS), root / "prepared" / "corpus.parquet", CORPUS)
        queries = pl.DataFrame({"query_id": ids, "text": [f"find {other} and {one}" for one, other in pairs]})
        blank = ("cluster_id", "near_group", "given_split", "stratum")
        queries = queries.with_columns(pl.lit("").alias(name) for name in blank)
        write(queries, root / "dev" / "queries.parquet", SPLIT_QUERIES)
        judged = pl.DataFrame({"query_id": ids, "document_id": ids}).with_columns(relevance=pl.lit(1, pl.Int64))
        write(judged, root / "dev" / "qrels.parquet", QRELS)
        write(judged.select("document_id"), root / "dev" / "documents.parquet", DOCUMENT_IDS)
        write(pl.DataFrame(schema=OWN_TEXTS), root / "dev" / "own_texts.parquet", OWN_TEXTS)
        write(pl.DataFrame({"document_id": others}), root / "train" / "documents.parquet", DOCUMENT_IDS)
        (root / "near_domain").mkdir()
        lines = [{"query": f"the {b} of a {a}", "passage": f"a {a} with {b} and more"} for a, b in pairs]
        (root / "general.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def add_near_domain(self, name: str) -> None:
        """Writes a near-domain task: dev's documents with more words and a title, one short query each."""
        folder = self.root / "near_domain" / name
        (folder / "qrels").mkdir(parents=True)
        words = list(enumerate(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)))
        documents = [{"_id": f"d{i:02}", "title": b, "text": f"{a} {b} in short"} for i, (a, b) in words]
        queries = [{"_id": f"q{i:02}", "text": f"{b} {a}"} for i, (a, b) in words]
        (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
        (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
        judged = [f"q{i:02}\td{i:02}\t1\n" for i, _ in words]
        (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))

    def dev(self, n_documents: int = 8) -> RetrievalTask:
        corpus = pl.read_parquet(self.root / "prepared/corpus.parquet")
        texts = dict(corpus.select("document_id", "text").iter_rows())
        return read_dev(self.root / "dev", texts, self.root / "train" / "documents.parquet", n_documents)

    def tune(self, seed: int, noise: float) -> None:
        """Writes the base's weights with noise, in standard deviations of each tensor, instead of training."""
        folder = Path(shutil.copytree(self.base, self.root / "r1" / str(seed), dirs_exist_ok=True))
        generator = torch.Generator().manual_seed(seed)
        weights = load_file(self.base / WEIGHTS)
        for name, value in weights.items():
            if value.numel() > 1 and noise:
                weights[name] = value + noise * value.std() * torch.randn(value.shape, generator=generator)
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    def run(self, first: int = 13, **changes: object) -> dict[str, Any]:
        call(
            merge,
            params(**changes),
            self.root / "merge.json",
            base=self.base,
            rounds=self.root / "r1",
            first=first,
            prepared=self.root / "prepared",
            dev_split=self.root / "dev",
            train_documents=self.root / "train" / "documents.parquet",
            n_dev_documents=8,
            near_domain=self.root / "near_domain",
            out=self.root / "tuned",
            seeds=self.root / "seeds",
            curve_file=self.root / "merge.csv",
        )
        return dict(json.loads((self.root / "merge.json").read_text()))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def case(tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.chdir(tmp_path)
    return Case(tmp_path, tiny_encoder)


def test_share_1_copies_the_rounds_files_byte_for_byte(case: Case) -> None:
    """The first seed's become the model, the other's stand beside it with a list; the curve has both ends."""
    receipt = case.run()
    assert receipt["share"] == 1.0 and receipt["n_seeds"] == 2
    assert files_of(case.root / "tuned") == files_of(case.root / "r1" / "13")
    assert files_of(case.root / "seeds" / "7") == files_of(case.root / "r1" / "7")
    assert json.loads((case.root / "seeds" / "seeds.json").read_text()) == {"first": 13, "others": [7]}
    curve = pl.read_csv(case.root / "merge.csv")
    assert curve.columns == ["share", "dev_ndcg@10", "general_ndcg@10", "near_domain_ndcg@10", "is_chosen"]
    assert curve["share"].to_list() == [0.0, 1.0] and curve["is_chosen"].to_list() == [False, True]
    assert case.run(first=7)["share"] == 1.0
    assert files_of(case.root / "tuned") == files_of(case.root / "r1" / "7")


@pytest.mark.parametrize("shares", [[1.0], [0.3], [0.0, 0.5, 1.0]])
def test_without_training_every_share_gives_the_base_to_the_bit(case: Case, shares: list[float]) -> None:
    """train.epochs: 0. All shares tie on both scores, so the smallest is chosen, and nothing differs from the base."""
    for seed in (13, 7):
        case.tune(seed, 0.0)
    receipt = case.run(shares=shares, min_retention=1.0)
    assert receipt["share"] == min(shares) and receipt["is_retention_met"]
    assert receipt["dev_ndcg@10"] == receipt["base_dev_ndcg@10"] and receipt["retention"] == 1.0
    for folder in ("tuned", "seeds/7"):
        merged, base = (load_file(where / WEIGHTS) for where in (case.root / folder, case.base))
        assert bits(merged) == bits(base)
        assert (case.root / folder / "attune.json").read_bytes() == (case.base / "attune.json").read_bytes()
    if shares == [1.0]:
        assert (case.root / "tuned" / WEIGHTS).read_bytes() == (case.base / WEIGHTS).read_bytes()


def test_the_saved_encoder_is_the_weighted_mean_that_was_scored(case: Case) -> None:
    """Each seed's saved weights are its weighted mean; the receipt's scores are those of the saved model."""
    receipt = case.run(shares=[0.4])
    base = load_file(case.base / WEIGHTS)
    for seed, folder in ((13, "tuned"), (7, "seeds/7")):
        tuned, merged = load_file(case.root / "r1" / str(seed) / WEIGHTS), load_file(case.root / folder / WEIGHTS)
        assert merged.keys() == tuned.keys()
        for name, value in merged.items():
            if value.is_floating_point():
                np.testing.assert_allclose(value, 0.4 * tuned[name] + 0.6 * base[name], rtol=1e-5, atol=1e-6)
    assert receipt["dev_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", case.dev()), abs=1e-6)
    assert receipt["n_dev_documents"] == 16 + 8
    general = general_task(read_general_text(case.root / "general.jsonl"))
    assert receipt["general_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", general), abs=1e-6)
    assert receipt["base_general_ndcg@10"] == pytest.approx(ndcg(case.base, general), abs=1e-6)
    assert receipt["n_general_queries"] == len(general.queries) == len(general.corpus) < 16
    curve = pl.read_csv(case.root / "merge.csv")
    assert curve["share"].to_list() == [0.0, 0.4, 1.0] and curve["is_chosen"].to_list() == [False, True, False]


def ndcg(folder: Path, task: Any) -> float:
    """Mean nDCG@10 of queries with one answer each: 1 / log2(1 + rank), by a plain sort."""
    encoder = TorchEncoder(load_torch(folder), "fp32", 4096)
    ids = list(task.corpus)
    scores = encoder.encode_query(list(task.queries.values())) @ encoder.encode_document(list(task.corpus.values())).T
    gains = []
    for row, query in zip(scores, task.queries, strict=True):
        (answer,) = task.relevant[query]
        rank = 1 + int((row > row[ids.index(answer)]).sum())
        gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
    return float(np.mean(gains))


def test_min_retention_limits_the_share_of_a_ruined_encoder(case: Case) -> None:
    """Noise of six standard deviations: a small share is chosen; if none retains enough, the receipt says so."""
    for seed in (13, 7):
        case.tune(seed, 6.0)
    back = case.run(shares=[0.0, 0.05, 1.0], min_retention=0.98)
    assert back["share"] < 1 and back["is_retention_met"] and back["retention"] >= 0.98
    worst = case.run(shares=[1.0], min_retention=0.98)
    assert (worst["share"], worst["is_retention_met"]) == (1.0, False)
    kept = worst["general_ndcg@10"] / worst["base_general_ndcg@10"]
    assert kept < 0.9 and worst["retention"] == pytest.approx(kept, abs=1e-5)


def test_the_receipt_has_each_near_domain_task_beside_the_base(case: Case) -> None:
    """Scores equal an evaluation of the saved model alone, with the title before the text; the curve has the mean."""
    for name in ("as_indexed", "as_typed"):
        case.add_near_domain(name)
    receipt = case.run(shares=[0.4])
    tasks = read_near_domain(case.root / "near_domain")
    assert list(tasks) == ["as_indexed", "as_typed"]
    assert tasks["as_typed"].corpus["d00"] == "graph array graph in short"
    for name, task in tasks.items():
        assert receipt[f"near_{name}_ndcg@10"] == pytest.approx(ndcg(case.root / "tuned", task), abs=1e-6)
        assert receipt[f"base_near_{name}_ndcg@10"] == pytest.approx(ndcg(case.base, task), abs=1e-6)
        assert receipt[f"n_near_{name}_queries"] == 16
    share_kept = receipt["near_as_typed_ndcg@10"] / receipt["base_near_as_typed_ndcg@10"]
    assert receipt["near_domain_kept"] == pytest.approx(share_kept, abs=1e-5) and receipt["is_near_domain_met"]
    near = pl.read_csv(case.root / "merge.csv")["near_domain_ndcg@10"]
    assert near[1] == pytest.approx(receipt["near_as_typed_ndcg@10"], abs=1e-6)


def test_a_ruined_near_domain_limits_the_share(case: Case) -> None:
    """Noise of six standard deviations: a floor of 1 sends the choice back to the base's side, or says it is missed."""
    case.add_near_domain("as_typed")
    for seed in (13, 7):
        case.tune(seed, 6.0)
    assert case.run(shares=[0.0, 1.0], min_near_domain=1.0)["share"] == 0.0
    missed = case.run(shares=[1.0], min_near_domain=1.0)
    assert (missed["share"], missed["is_near_domain_met"], missed["is_retention_met"]) == (1.0, False, True)
    assert missed["near_domain_kept"] < 0.9


def test_without_near_domain_tasks_the_receipt_claims_nothing_about_them(case: Case) -> None:
    """No key speaks of a near domain; the curve's column is empty."""
    assert not [key for key in case.run(min_near_domain=1.0) if "near" in key]
    assert pl.read_csv(case.root / "merge.csv")["near_domain_ndcg@10"].null_count() == 2


def test_a_near_domain_task_without_judgments_of_dev_is_refused(case: Case) -> None:
    """The message names the missing file; judgments of test are not used in their place."""
    case.add_near_domain("as_typed")
    qrels = case.root / "near_domain" / "as_typed" / "qrels"
    (qrels / "dev.tsv").rename(qrels / "test.tsv")
    with pytest.raises(BadInput, match=r"as_typed/qrels/dev\.tsv: not found; run `dvc repro`"):
        case.run()


def test_a_text_of_several_tasks_is_encoded_once_per_share(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks over three documents, one of them in both: two shares encode three documents each."""
    encoded: list[str] = []
    original = TorchEncoder.encode_document

    def counting(self: TorchEncoder, texts: list[str]) -> Any:
        encoded.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(TorchEncoder, "encode_document", counting)
    dev = RetrievalTask({"q": "array"}, {"b": "graph", "a": "array"}, {"q": {"a"}})
    other = RetrievalTask({"q": "sum"}, {"x": "sum", "y": "array"}, {"q": {"x"}})
    encoders = Interpolation(case.base, case.root / "r1" / "13", 1)
    shares = score_shares(encoders, [0.0, 1.0], dev, other, [dev], "fp32")
    assert encoded == ["array", "graph", "sum"] * 2
    assert all(share.near_domain == (share.dev,) for share in shares)


def test_the_same_input_gives_the_same_bytes(case: Case) -> None:
    """Two runs of the stage write equal model files."""
    case.run(shares=[0.3, 0.6])
    one = files_of(case.root / "tuned")
    case.run(shares=[0.3, 0.6])
    assert files_of(case.root / "tuned") == one


def test_interpolation_returns_exact_ends_after_a_middle_share(case: Case) -> None:
    """One model in memory serves all shares; nothing of the last share stays in it."""
    encoders = Interpolation(case.base, case.root / "r1" / "13", 1)
    encoders.at(0.5)
    assert bits(encoders.at(1.0).state_dict()) == bits(load_torch(case.root / "r1" / "13").state_dict())
    assert bits(encoders.at(0.0).state_dict()) == bits(load_torch(case.base).state_dict())


def test_an_encoder_tuned_from_another_base_is_refused(case: Case, tmp_path: Path) -> None:
    """A shorter position table is named in one line; no output is left behind."""
    from safetensors import safe_open

    other = build_tiny_encoder(tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {"max_position_embeddings": 40}
    (other / "config.json").write_text(json.dumps(config))
    weights = load_file(other / WEIGHTS)
    with safe_open(other / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    name = next(name for name in weights if "position_embeddings" in name)
    save_file(weights | {name: weights[name][:40].clone()}, other / WEIGHTS, metadata=metadata)
    shutil.rmtree(case.root / "r1" / "13")
    shutil.copytree(other, case.root / "r1" / "13")
    with pytest.raises(BadInput, match=r"merge: 1 tensors .*position_embeddings.*got \(40, 32\), expected \(64, 32\)"):
        case.run(shares=[0.5])
    assert not (case.root / "tuned").exists() and not list(case.root.rglob("*.partial"))


def test_a_round_without_the_first_seed_is_refused(case: Case) -> None:
    """The message lists the seeds that the round has."""
    with pytest.raises(BadInput, match=r"r1: no encoder of seed 5, only of \[7, 13\]; run `dvc repro`"):
        case.run(first=5)
