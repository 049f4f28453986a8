"""Calibration of scores: maps by scikit-learn, errors by hand, promises that hold, and cutoffs with the same effect."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prepared_tables import filled
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from attune.cli.cutoff import moved_cutoff
from attune.errors import BadInput
from attune.evaluation.calibration.hits import Hits, read_hits
from attune.evaluation.calibration.probabilities import calibration_error, chosen, isotonic, logistic
from attune.evaluation.calibration.promises import lower_bound, promised, same_effect, share_kept
from attune.evaluation.report.cutoffs import cutoff_moved_sentence, scores_sentence
from attune.tables import QRELS, RUN, SPLIT_QUERIES, write

LEFT_OUT = -np.inf


def hits_of(scores: np.ndarray, is_relevant: np.ndarray, clusters: np.ndarray | None = None) -> Hits:
    """Returns one hit for each query."""
    numbers = np.arange(len(scores))
    own = numbers if clusters is None else clusters
    return Hits(scores, is_relevant, numbers, own, np.ones(len(scores), dtype=np.int64), np.sort(scores[is_relevant]))


def drawn(n: int, seed: int, steepness: float = 12.0) -> Hits:
    """Returns hits whose probability is a logistic curve of their score."""
    random = np.random.default_rng(seed)
    scores = random.random(n)
    return hits_of(scores, random.random(n) < 1 / (1 + np.exp(-steepness * (scores - 0.6))))


def test_the_isotonic_map_is_scikit_learns() -> None:
    """On scores between its points and beyond them."""
    hits, grid = drawn(400, 0), np.linspace(-0.2, 1.2, 57)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(hits.scores, hits.is_relevant)
    assert isotonic(hits.scores, hits.is_relevant).probability(grid) == pytest.approx(model.predict(grid))


def test_the_logistic_map_finds_the_curve_that_was_drawn() -> None:
    """Within .03 for 20,000 hits; scores that mean nothing, or the reverse, give the share of relevant ones."""
    hits, grid = drawn(20_000, 1), np.linspace(0.05, 0.95, 19)
    curve = 1 / (1 + np.exp(-12 * (grid - 0.6)))
    assert logistic(hits.scores, hits.is_relevant).probability(grid) == pytest.approx(curve, abs=0.03)
    flat = logistic(-hits.scores, hits.is_relevant)
    assert np.ptp(flat.probabilities) == 0 and flat.probabilities[0] == pytest.approx(hits.is_relevant.mean())
    same = np.full(4, 0.5)
    assert logistic(same, np.array([True, False, False, False])).probability(same).tolist() == [0.25] * 4


def test_dev_chooses_the_map_by_hits_of_clusters_that_it_has_not_seen() -> None:
    """Few hits on a logistic curve take it; a step at .5 among many takes the isotonic map; one cluster cannot tell."""
    few = chosen(drawn(80, 2))
    assert few.method == "logistic" and few.losses["logistic"] < few.losses["isotonic"]
    random = np.random.default_rng(3)
    scores = random.random(4000)
    step = hits_of(scores, random.random(4000) < np.where(scores > 0.5, 0.9, 0.1))
    assert chosen(step).method == "isotonic"
    alone = chosen(Hits(*drawn(50, 4)._replace(clusters=np.zeros(50, dtype=np.int64))))
    assert (alone.method, alone.losses) == ("logistic", {})


def test_the_calibration_error_is_the_mean_gap_over_bins() -> None:
    """scikit-learn's curve of ten bins of equally many hits gives the same; a perfect map has nearly none."""
    hits = drawn(5000, 5)
    wrong = hits.scores**2
    seen, predicted = calibration_curve(hits.is_relevant, wrong, n_bins=10, strategy="quantile")
    error = calibration_error(wrong, hits.is_relevant, hits.clusters, 0.95, 13)
    assert error.value == pytest.approx(float(np.abs(seen - predicted).mean()), abs=1e-3)
    assert error.low < error.value < error.high
    right = 1 / (1 + np.exp(-12 * (hits.scores - 0.6)))
    assert calibration_error(right, hits.is_relevant, hits.clusters, 0.95, 13).value < 0.02
    assert calibration_error(wrong, hits.is_relevant, hits.clusters, 0.95, 13) == error


def test_the_bound_is_clopper_and_pearsons_and_clusters_widen_it() -> None:
    """scipy's exact interval for independent queries; ten equal queries in each cluster count as one."""
    is_right = np.repeat([True, False], [45, 5])
    expected = binomtest(45, 50, alternative="greater").proportion_ci(0.95, method="exact").low
    assert lower_bound(is_right, np.arange(50), 0.05) == pytest.approx(expected, abs=2e-3)
    tenfold = lower_bound(np.repeat(is_right, 10), np.repeat(np.arange(50), 10), 0.05)
    assert tenfold == pytest.approx(expected, abs=2e-3)
    assert lower_bound(np.repeat(is_right, 10), np.arange(500), 0.05) > expected + 0.04
    assert lower_bound(np.zeros(9, dtype=np.bool_), np.arange(9), 0.05) == 0
    assert lower_bound(np.ones(20, dtype=np.bool_), np.arange(20), 0.05) == pytest.approx(0.05 ** (1 / 20))


def test_a_promised_precision_is_kept_in_95_of_100_samples() -> None:
    """The true precision beyond the cutoff is below the promise in at most 5%; picked without a bound, in a third."""
    score = np.linspace(0, 1, 200_001)
    relevance = 1 / (1 + np.exp(-12 * (score - 0.6)))
    beyond = np.cumsum(relevance[::-1])[::-1] / np.arange(len(score), 0, -1)  # true precision from each score on
    broken, broken_unbounded, n_promised, n = 0, 0, 0, 300
    for seed in range(n):
        dev = drawn(400, 100 + seed)
        promise = promised(dev, 0.8, 0.95)
        if promise.cutoff is not None:
            n_promised += 1
            assert promise.bound >= 0.8
            broken += float(np.interp(promise.cutoff, score, beyond)) < 0.8
        order = np.argsort(-dev.scores)
        seen = np.cumsum(dev.is_relevant[order]) / np.arange(1, 401)
        picked = dev.scores[order][np.flatnonzero(seen >= 0.8)[-1]]
        broken_unbounded += float(np.interp(picked, score, beyond)) < 0.8
    assert n_promised > 0.9 * n and broken <= 0.05 * n_promised
    assert broken_unbounded > 0.3 * n


def test_a_precision_that_no_cutoff_reaches_is_not_promised() -> None:
    """Scores that mean nothing, of hits that are right by half; the highest bound is told."""
    random = np.random.default_rng(6)
    promise = promised(hits_of(random.random(300), random.random(300) < 0.5), 0.8, 0.95)
    assert promise.cutoff is None and 0.2 < promise.bound < 0.5 and 0 < promise.coverage <= 1


def test_a_cutoff_keeps_its_share_of_the_relevant_under_another_encoder() -> None:
    """Of five, base keeps three at .5; tuned's third best is .4. What no run holds cannot be kept."""
    base, tuned = np.array([LEFT_OUT, 0.2, 0.5, 0.6, 0.7]), np.array([LEFT_OUT, LEFT_OUT, 0.4, 0.8, 0.9])
    assert share_kept(base, 0.5) == 0.6 and share_kept(tuned, 0.5) == 0.4
    assert same_effect(0.5, base, tuned) == 0.4
    assert same_effect(0.1, base, tuned) is None
    none = same_effect(0.9, base, tuned)
    assert none is not None and none > 0.9 and share_kept(tuned, none) == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three queries of two clusters; q2 has two answers, one of which the run lacks."""
    columns = {"query_id": ["q0", "q1", "q2"], "text": ["a", "b", "c"], "cluster_id": ["x", "x", "y"]}
    write(filled(columns, SPLIT_QUERIES), tmp_path / "split/queries.parquet", SPLIT_QUERIES)
    judged = [("q0", "d0", 1), ("q1", "d1", 2), ("q2", "d2", 1), ("q2", "d9", 1)]
    write(pl.DataFrame(judged, schema=QRELS, orient="row"), tmp_path / "split/qrels.parquet", QRELS)
    ranked = [
        ("q0", "d0", 0.9),
        ("q0", "d1", 0.5),
        ("q1", "d0", 0.8),
        ("q1", "d1", 0.7),
        ("q2", "d2", 0.6),
        ("t", "d1", 1.0),
    ]
    ranks = [1, 2, 1, 2, 1, 1]
    rows = [(query, rank, document, score) for (query, document, score), rank in zip(ranked, ranks, strict=True)]
    write(pl.DataFrame(rows, schema=RUN, orient="row"), tmp_path / "run/run.parquet", RUN)
    return tmp_path


def test_hits_are_those_of_the_splits_queries_with_their_judgments(data: Path) -> None:
    """By query and rank; a relevant document that is not ranked counts; the best score without answers."""
    hits = read_hits(data / "run", data / "split")
    assert hits.scores.tolist() == [0.9, 0.5, 0.8, 0.7, 0.6]
    assert hits.is_relevant.tolist() == [True, False, False, True, True]
    assert hits.queries.tolist() == [0, 0, 1, 1, 2] and len(set(hits.clusters[:4])) == 1
    assert hits.clusters[0] != hits.clusters[4]
    assert hits.relevant.tolist() == [LEFT_OUT, 0.6, 0.7, 0.9]
    assert hits.first.scores.tolist() == [0.9, 0.8, 0.6] and hits.upto(2).scores.tolist() == hits.scores.tolist()
    assert hits.best_without_relevant().tolist() == [0.5, 0.8, LEFT_OUT]


def test_a_run_without_the_splits_queries_is_refused(data: Path) -> None:
    """One line names the file."""
    run = pl.read_parquet(data / "run/run.parquet").filter(pl.col("query_id") == "t")
    write(run, data / "run/run.parquet", RUN)
    with pytest.raises(BadInput, match=r"run\.parquet: ranks no query of .*split; run `dvc repro`"):
        read_hits(data / "run", data / "split")


def test_attune_cutoff_says_the_new_cutoff_and_what_the_old_one_would_keep(tmp_path: Path) -> None:
    """Of four relevant documents base keeps two at .5; tuned's second best scores .65, three score .5 or more."""
    for system, relevant in (("base", [0.3, 0.4, 0.5, 0.7]), ("tuned", [0.4, 0.55, 0.65, 0.9])):
        content = {"scores": [0.0, 1.0], "probabilities": [0.0, 1.0], "n_relevant": 4, "relevant_scores": relevant}
        (tmp_path / f"{system}.json").write_text(json.dumps(content))
    (said,) = moved_cutoff(0.5, tmp_path).shown()
    assert said.startswith(
        "0.6500: keeps 50.0% of dev's relevant documents for tuned, as 0.5 does for base; 0.5 unmoved"
    )
    assert "would keep 75.0%" in said and "probability 0.65, for base 0.50" in said
    (tmp_path / "base.json").unlink()
    with pytest.raises(
        BadInput, match=r"base\.json: not found; run `dvc repro calibrate` with calibrate\.depth above 0"
    ):
        moved_cutoff(0.5, tmp_path)


@pytest.mark.parametrize("old", [float("nan"), float("inf"), -float("inf")])
def test_a_cutoff_that_is_no_number_is_refused(tmp_path: Path, old: float) -> None:
    """The command line takes nan and inf for numbers; JSON has neither."""
    with pytest.raises(BadInput, match=rf"^OLD: got {old:g}, expected a finite score; give that of base"):
        moved_cutoff(old, tmp_path)


def test_the_report_says_what_scores_mean() -> None:
    """With a promise and without one; off; and what becomes of a cutoff."""
    figures = {"is_off": False, "tuned.ece": 0.005, "tuned.ece_low": 0.004, "tuned.ece_high": 0.02}
    figures |= {"tuned.score_as_probability_ece": 0.38, "tuned.method": "isotonic", "tuned.removed_answer_auroc": 0.66}
    none = {"tuned.promised.is_kept": False, "tuned.promised.dev_bound": 0.741, "tuned.promised.dev_coverage": 0.2}
    without = scores_sentence(figures | none, 0.8, 0.95)
    assert "wrong by 0.380 on average" in without and "by 0.005 (95% interval 0.004 to 0.020)" in without
    assert "that 80% of first hits are right (at 95% confidence, most are 74.1%, for 20.0% of the queries)." in without
    assert without.endswith("AUROC 0.66.")
    promise = {"tuned.promised.is_kept": True, "tuned.promised.cutoff": 0.512, "tuned.promised.dev_coverage": 0.4}
    promise |= {"tuned.promised.test_precision": 0.83, "tuned.promised.test_coverage": 0.41}
    said = scores_sentence(figures | promise, 0.8, 0.95)
    assert "From 0.512 on, 80% of first hits are right or more, at 95% confidence; 40.0% of dev's queries" in said
    assert "on test 41.0%, of which 83.0% are right" in said
    assert "calibrate.depth: 0" in scores_sentence({"is_off": True}, 0.8, 0.95)
    moved = {
        "old": 0.31,
        "base_share_kept": 0.9,
        "tuned_share_kept": 0.96,
        "base_wrong_hits": 4.0,
        "tuned_wrong_hits": 8.0,
    }
    told = {"is_off": False} | {f"cutoff.{name}": value for name, value in moved.items()}
    words = cutoff_moved_sentence(told)
    assert (
        "0.310 keeps 90.0% of dev's relevant documents and 4.0 other hits per query under base, 96.0% and 8.0" in words
    )
    assert "0.400 keeps as many, and 5.0 other hits" in cutoff_moved_sentence(
        told | {"cutoff.new": 0.4, "cutoff.new_wrong_hits": 5.0}
    )
    assert cutoff_moved_sentence({"is_off": True}) == cutoff_moved_sentence({"is_off": False}) == ""
