"""Verdict on overfitting: overfitted, not overfitted or cannot tell, for hand-computed and for planted gains."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted_gains import by_heart, curve, drawn, gain, learnt, nothing, saturated, simulated

from attune.errors import BadInput
from attune.evaluation.report.choice import candidate_words
from attune.evaluation.report.gains import SCORES, Gains, gains_of
from attune.evaluation.report.overfitting import Curve, Limits, Overfitting, Status, judge
from attune.tables import SPLIT_QUERIES, write
from attune.tuning.curve import Candidate, Point

LIMITS = Limits(min_carried_share=0.25, max_decline=0.02, confidence=0.95)
RISING = curve([0.5, 0.6, 0.7], kept=2)


def gains(train: float, dev: float, test: float, n: int = 400, sd: float = 0.2) -> Gains:
    """Gains of exactly these means and this standard deviation, of 1,000 train queries, n of dev and n of test."""
    planted = {"train": (train, 1000), "dev": (dev, n), "test": (test, n)}
    return {
        split: gain(np.full(size, 0.5), 0.5 + mean + np.tile([-sd, sd], size // 2))
        for split, (mean, size) in planted.items()
    }


def test_gains_are_tuned_minus_base() -> None:
    """The gap is tuned on train minus tuned on test; shares are dev's gain by train's and test's by dev's."""
    judged = judge(gains(0.3, 0.15, 0.12), RISING, LIMITS)
    assert [judged[f"{split}_gain"] for split in ("train", "dev", "test")] == pytest.approx([0.3, 0.15, 0.12])
    assert judged["gap"] == pytest.approx(0.18)
    assert (judged["carried_share"], judged["test_carried_share"]) == pytest.approx((0.5, 0.8))
    assert judged["carried_share_low"] < 0.5 < judged["carried_share_high"]
    assert judged["test_carried_share_low"] < 0.8 < judged["test_carried_share_high"]


def test_a_gain_that_carries_over_is_not_overfitting() -> None:
    """Where both intervals lie above the required share; the words name the choice of the checkpoint."""
    judged = judge(gains(0.3, 0.15, 0.15), RISING, LIMITS)
    assert (judged["status"], judged["is_overfitted"], judged["n_candidates"]) == ("not overfitted", False, 3)
    assert judged["verdict"] == (
        "Not overfitted. nDCG@10 changed by +0.300 on train queries, +0.150 on dev, +0.150 on test. Dev keeps 50% of "
        "train's gain [41%, 57%], enough. Test keeps 100% of dev's gain [82%, 127%], enough. In brackets: 95% "
        "intervals; dev chose the best of 3 candidates, which these allow for; at least 25% of each is required. Dev "
        "was best at the end of training."
    )


@pytest.mark.parametrize("held_out", [0.02, 0.0, -0.2])
def test_a_gain_on_train_alone_is_overfitting(held_out: float) -> None:
    """Even where dev rises all through training; the verdict names remedies."""
    judged = judge(gains(0.4, held_out, held_out), RISING, LIMITS)
    assert (judged["status"], judged["is_overfitted"]) == ("overfitted", True)
    assert judged["verdict"].startswith("Overfitted. ") and "certainly too little" in judged["verdict"]
    assert "Remedies: fewer train.epochs" in judged["verdict"]


@pytest.mark.parametrize(
    ("n", "status"), [(8, "cannot tell"), (30, "cannot tell"), (100, "overfitted"), (1000, "overfitted")]
)
def test_a_gain_on_dev_alone_is_overfitting(n: int, status: str) -> None:
    """Train gains .30, dev .28 and test loses .05: dev was what the choice of the checkpoint fitted."""
    judged = judge(gains(0.3, 0.28, -0.05, n), RISING, LIMITS)
    assert judged["status"] == status


def test_few_queries_cannot_tell() -> None:
    """The same gains as of 400 queries: eight decide nothing, which is no overfitting and no approval."""
    judged = judge(gains(0.3, 0.15, 0.15, 8), RISING, LIMITS)
    assert (judged["status"], judged["is_overfitted"]) == ("cannot tell", False)
    assert judged["verdict"].startswith("Cannot tell. ")
    assert "8 dev queries are too few to tell" in judged["verdict"]


def test_the_more_candidates_dev_chose_from_the_less_its_gain_proves() -> None:
    """The low end of dev's share and the high end of test's move outwards; the other ends stay."""
    few, many = (judge(gains(0.3, 0.15, 0.15), curve([0.5] * n + [0.7], n), LIMITS) for n in (1, 40))
    assert many["carried_share_low"] < few["carried_share_low"]
    assert many["carried_share_high"] == few["carried_share_high"]
    assert many["test_carried_share_high"] > few["test_carried_share_high"]
    assert many["test_carried_share_low"] == few["test_carried_share_low"]


def test_the_interval_excludes_the_required_share_where_the_verdict_is_decided() -> None:
    """Interval and verdict are one rule: at both ends of dev's interval the outcome turns."""
    case = gains(0.3, 0.1, 0.1)
    judged = judge(case, RISING, LIMITS)
    for end, sides in (("low", ("is_kept", 1e-6)), ("high", ("is_lost", -1e-6))):
        name, step = sides
        share = judged[f"carried_share_{end}"]
        within, beyond = (
            getattr(Overfitting(case, RISING, Limits(share + shift, 0.02, 0.95)).dev_share, name)
            for shift in (step, -step)
        )
        assert (within, beyond) == (False, True)


def test_a_fall_of_dev_is_harmless_if_the_best_is_kept() -> None:
    """The fall is reported, but is not overfitting where the best checkpoint is kept."""
    judged = judge(gains(0.3, 0.15, 0.15), curve([0.5, 0.7, 0.6], kept=1), LIMITS)
    assert judged["status"] == "not overfitted"
    assert judged["dev_decline"] == pytest.approx(0.1)
    assert "best at step 10 (0.700) and fell to 0.600; step 10 with all of its weights is kept." in judged["verdict"]


def test_an_encoder_kept_past_the_best_of_dev_is_overfitted() -> None:
    """The verdict adds that the training loss kept falling meanwhile."""
    points = [Point(10 * i, 1.0 - 0.1 * i, dev) for i, dev in enumerate([0.5, 0.7, 0.6, 0.5])]
    past = curve([0.5, 0.7, 0.6, 0.5], kept=3)
    assert past is not None
    judged = judge(gains(0.3, 0.15, 0.15), past.of(points, Candidate(30, 1, 1.0), 1), LIMITS)
    assert judged["is_overfitted"] and judged["n_looks"] == 1 and "dev chose" not in judged["verdict"]
    assert "while the training loss kept falling, and step 30 with all of its weights is kept." in judged["verdict"]


def test_a_fall_of_dev_that_may_be_chance_cannot_be_told() -> None:
    """A fall of .06 with a standard error of .036: no approval, and no overfitting either."""
    judged = judge(gains(0.3, 0.3, 0.3, 30), curve([0.5, 0.76, 0.7], kept=2), LIMITS)
    assert (judged["status"], judged["is_overfitted"]) == ("cannot tell", False)
    assert "step 20 with all of its weights is kept; that may be chance." in judged["verdict"]


@pytest.mark.parametrize("kept", [Candidate(30, 1, 0.5), Candidate(30, 3, 1.0), Candidate(0, 1, 0.0)])
def test_a_fall_of_dev_is_no_fault_of_a_candidate_that_dev_chose(kept: Candidate) -> None:
    """A share of a later checkpoint, an average or base is chosen on dev: all 16 candidates count as looks."""
    points = [Point(10 * i, None, dev) for i, dev in enumerate([0.5, 0.7, 0.6, 0.5])]
    judged = judge(gains(0.3, 0.15, 0.15), Curve.of(points, kept, 16), LIMITS)
    assert (judged["status"], judged["n_candidates"]) == ("not overfitted", 16)
    assert f"(0.700) and fell to 0.500; {candidate_words(kept)} is kept." in judged["verdict"]
    assert "the best of 16 candidates" in judged["verdict"]


@pytest.mark.parametrize(
    ("n_candidates", "n_training_looks", "words"),
    [
        (6, 0, "dev chose the best of 6 candidates, which these allow for;"),
        (
            6,
            9,
            "dev chose the best of 6 candidates and the training by 9 looks at rates and restarts, which these allow",
        ),
        (1, 1, "intervals; dev chose the training by 1 look at rates and restarts, which these allow for;"),
    ],
)
def test_probes_and_restarts_are_looks_at_dev(n_candidates: int, n_training_looks: int, words: str) -> None:
    """They widen the intervals as candidates do, with merge.keep: last, too; the words tell them apart."""
    points = [Point(10 * i, None, dev) for i, dev in enumerate([0.5, 0.6, 0.7])]
    seen, once = (
        judge(gains(0.3, 0.15, 0.15), Curve.of(points, Candidate(20, 1, 1.0), *looks), LIMITS)
        for looks in ((n_candidates, n_training_looks), (1, 0))
    )
    assert (seen["n_candidates"], seen["n_looks"]) == (n_candidates, n_candidates + n_training_looks)
    assert seen["carried_share_low"] < once["carried_share_low"] and words in seen["verdict"]


def test_an_encoder_that_lost_on_train_too_is_overfitted() -> None:
    """A loss on train, dev and test counts, although there is no gain to carry over."""
    judged = judge(gains(-0.5, -0.5, -0.5), curve([0.5, 0.1, 0.0], kept=2), LIMITS)
    assert judged["is_overfitted"] and judged["carried_share"] is None
    assert "Train may have gained nothing of which dev could keep a share, and dev lost." in judged["verdict"]
    assert "best at step 0 (0.500) and fell to 0.000, and step 20 with all of its weights is kept" in judged["verdict"]


def test_a_small_decline_is_no_overfitting() -> None:
    """A fall of dev within max_dev_decline is reported as tolerated."""
    judged = judge(gains(0.3, 0.15, 0.15), curve([0.5, 0.7, 0.69], kept=2), LIMITS)
    assert judged["status"] == "not overfitted"
    assert "is kept; the decline is within tolerance." in judged["verdict"]


def test_without_training_nothing_is_overfitted() -> None:
    """No curve, or one with a single point, and tuned is base; a change without a curve is judged as any other."""
    for points in (None, curve([0.5], kept=0), curve([0.5, 0.4], kept=0)):
        judged = judge(gains(0.0, 0.0, 0.0, sd=0.0), points, LIMITS)
        assert judged["status"] == "not overfitted"
        assert "+0.000 on test. No step of a training was kept: tuned scores as base does." in judged["verdict"]
    assert judge(gains(0.0, 0.0, 0.0, sd=0.0), RISING, LIMITS)["status"] == "cannot tell"
    assert judge(gains(0.4, 0.0, 0.0), None, LIMITS)["status"] == "overfitted"


def test_one_cluster_on_a_side_cannot_tell() -> None:
    """Without a second cluster a gain has no error; figures are null instead of a fault."""
    one = dict(gains(0.3, 0.15, 0.15)) | {"dev": gain(np.array([0.5]), np.array([0.9]), size=3)}
    judged = judge(one, RISING, LIMITS)
    assert (judged["status"], judged["carried_share"], judged["test_carried_share"]) == ("cannot tell", None, None)
    assert "What dev keeps of train's gain cannot be told from a single cluster of queries." in judged["verdict"]


def test_of_equal_points_the_earlier_is_the_best() -> None:
    """An encoder kept at the first of two equal dev scores is not past the best."""
    points = curve([0.5, 0.7, 0.7], kept=1)
    assert points is not None
    assert points.best.step == 10
    assert not points.is_kept_past_best


def test_queries_of_a_cluster_count_once() -> None:
    """Four copies of each query leave the intervals as they are, but for the degrees of freedom of nothing."""
    rng = np.random.default_rng(3)
    base = drawn(rng, 60)
    case = {split: (base, learnt(0.5)(rng, base)) for split in ("train", "dev", "test")}
    once, copied = (
        judge({split: gain(*sides, size=size) for split, sides in case.items()}, RISING, LIMITS) for size in (1, 4)
    )
    figures = [key for key, value in once.items() if isinstance(value, float)]
    assert [copied[key] for key in figures] == pytest.approx([once[key] for key in figures])


def scored(folder: Path, system: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Writes nDCG@10 by split and query, and the splits' queries in clusters by the first letter of their ids."""
    rows = [(id_, split, value) for split, values in scores.items() for id_, value in values.items()]
    table = pl.DataFrame(rows, schema=["query_id", "split", "ndcg@10"], orient="row")
    zeros = [pl.lit(0.0).alias(name) for name in SCORES if name not in table.columns]
    write(table.with_columns(zeros).select(list(SCORES)), folder / f"runs/{system}/scores.parquet", SCORES)
    for split, values in scores.items():
        queries = pl.DataFrame({"query_id": list(values), "cluster_id": [id_[0] for id_ in values]})
        texts = [pl.lit("").alias(name) for name in SPLIT_QUERIES if name not in queries.columns]
        write(
            queries.with_columns(texts).select(list(SPLIT_QUERIES)),
            folder / f"splits/{split}/queries.parquet",
            SPLIT_QUERIES,
        )


def test_gains_are_read_by_split_and_cluster(tmp_path: Path) -> None:
    """Queries are paired by id in any order; clusters are those of each split, train's among them."""
    splits = ("train", "dev", "test")
    scored(tmp_path, "base", {split: {"a1": 0.1, "a2": 0.2, "b1": 0.3} for split in splits})
    scored(tmp_path, "tuned", {split: {"b1": 0.9, "a2": 0.2, "a1": 0.4} for split in splits})
    for one in gains_of(tmp_path / "runs", tmp_path / "splits").values():
        assert (one.n_queries, one.sums.n_clusters) == (3, 2)
        assert (one.mean, one.tuned) == pytest.approx((0.3, 0.5))


def test_other_queries_are_bad_input(tmp_path: Path) -> None:
    """The message names the split, what base and tuned have, and the next step."""
    splits = ("train", "dev", "test")
    scored(tmp_path, "base", {split: {"a1": 0.1, "b1": 0.3} for split in splits})
    scored(tmp_path, "tuned", {split: {"a1": 0.1, "b1": 0.3} for split in ("dev", "test")})
    with pytest.raises(BadInput, match=r"scored on 2 train queries, tuned on 0; expected the same ones.*dvc repro"):
        gains_of(tmp_path / "runs", tmp_path / "splits")


N_RUNS = 200
HELD_OUT = [(8, 8), (30, 30), (100, 100), (1000, 1000), (30, 1000)]  # clusters of dev and of test
CLUSTERED = [*((n, 1) for n in HELD_OUT), ((30, 30), 3)]  # and queries per cluster


def share_of(status: Status, *planted: object, **options: object) -> float:
    """Share of planted trainings with this outcome."""
    runs = simulated(N_RUNS, *planted, **options)  # type: ignore[arg-type]
    return float(np.mean([Overfitting(*run, LIMITS).status is status for run in runs]))


@pytest.mark.parametrize(("n_held_out", "size"), CLUSTERED)
def test_what_was_learnt_by_heart_is_seldom_approved(n_held_out: tuple[int, int], size: int) -> None:
    """No true gain but on train, the best of seven checkpoints kept: "Not overfitted" in at most 5%."""
    assert share_of(Status.NOT_OVERFITTED, n_held_out, drawn, by_heart, nothing, size=size) <= 0.05


@pytest.mark.parametrize("n_held_out", HELD_OUT)
def test_too_small_a_share_is_seldom_approved(n_held_out: tuple[int, int]) -> None:
    """Dev and test truly keep 22% where 25% is required; test, keeping all of dev's gain, cannot make up for it."""
    assert share_of(Status.NOT_OVERFITTED, n_held_out, drawn, by_heart, learnt(0.13)) <= 0.05


@pytest.mark.parametrize(("n_held_out", "size"), CLUSTERED)
def test_true_gains_over_a_saturated_base_are_seldom_called_overfitting(n_held_out: tuple[int, int], size: int) -> None:
    """Few queries can gain at all, so that often none of dev's or test's did: "Overfitted" in at most 5%."""
    assert share_of(Status.OVERFITTED, n_held_out, saturated, learnt(0.7), learnt(0.7), size=size) <= 0.05


@pytest.mark.parametrize("n_held_out", HELD_OUT)
def test_chance_in_the_curve_is_seldom_called_overfitting(n_held_out: tuple[int, int]) -> None:
    """Checkpoints of one true quality, the last one kept though another looks better: "Overfitted" in at most 5%."""
    assert share_of(Status.OVERFITTED, n_held_out, drawn, by_heart, learnt(0.4), keeps_last=True) <= 0.05


@pytest.mark.parametrize(("n_held_out", "least"), [((100, 100), 0.8), ((1000, 1000), 0.99)])
def test_a_real_gain_is_told_by_a_hundred_queries(n_held_out: tuple[int, int], least: float) -> None:
    """Train gains .29, dev and test .18: caution does not make every outcome "cannot tell"."""
    assert share_of(Status.NOT_OVERFITTED, n_held_out, drawn, by_heart, learnt(0.4)) >= least


def test_learning_by_heart_is_told_by_a_thousand_queries() -> None:
    """No true gain but on train is called overfitting."""
    assert share_of(Status.OVERFITTED, (1000, 1000), drawn, by_heart, nothing) >= 0.99


def test_the_share_without_its_interval_approves_what_was_learnt_by_heart() -> None:
    """The planted fault: by the observed share alone, half of such trainings pass with 30 dev queries."""
    runs = simulated(N_RUNS, (30, 30), drawn, by_heart, nothing)
    passed = [case["dev"].mean / case["train"].mean >= LIMITS.min_carried_share for case, _ in runs]
    assert np.mean(passed) > 0.3
