"""Forecasts of the label curve: an independent regression gives the same interval, and planted curves lie within it."""

import numpy as np
import pytest
import statsmodels.api as sm

from attune.evaluation import label_curve
from attune.evaluation.label_curve import forecasts
from attune.evaluation.label_points import SCORED, Labelled, forecasts_of, receipt_of, sentence, table

SIZES = np.repeat([100, 200, 400, 800, 1600], 3).astype(np.float64)
NOISE = np.tile([0.004, -0.003, -0.001], 5)


def test_a_curve_without_noise_is_continued_exactly() -> None:
    """.9 - 2 n^-.5: twice 1,600 labels give .9 - 2 / sqrt(3200), and the interval has no width to speak of."""
    one, four = forecasts(SIZES, 0.9 - 2 * SIZES**-0.5, [3200, 6400], 0.95)
    assert one.value == pytest.approx(0.9 - 2 / np.sqrt(3200), abs=1e-6)
    assert four.value == pytest.approx(0.9 - 2 / np.sqrt(6400), abs=1e-6)
    assert one.low == pytest.approx(one.high, abs=1e-3)


def test_with_one_exponent_the_interval_is_that_of_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prediction interval of a least-squares line in log n, which has one degree of freedom more."""
    monkeypatch.setattr(label_curve, "EXPONENTS", (0,))
    monkeypatch.setattr(label_curve, "N_PARAMETERS", 2)
    scores = 0.3 + 0.05 * np.log(SIZES) + NOISE
    (got,) = forecasts(SIZES, scores, [3200], 0.9)
    fitted = sm.OLS(scores, sm.add_constant(np.log(SIZES))).fit()
    frame = fitted.get_prediction(np.array([[1, np.log(3200)]])).summary_frame(alpha=0.1)
    expected = [float(frame[name].iloc[0]) for name in ("mean", "obs_ci_lower", "obs_ci_upper")]
    assert [got.value, got.low, got.high] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 0.3, 0.7, 1.0])
def test_planted_curves_lie_within_their_intervals(exponent: float) -> None:
    """40 curves of each shape with noise of .005: of 95% intervals at most one in twenty misses, as they are wide."""
    rng = np.random.default_rng(int(10 * exponent))
    n_missed = 0
    for _ in range(40):
        growth = label_curve.shape(np.append(SIZES, 3200) / 100, exponent)
        scores = 0.6 + 0.04 * growth + rng.normal(0, 0.005, len(growth))
        (one,) = forecasts(SIZES, scores[:-1], [3200], 0.95)
        n_missed += not one.low <= scores[-1] <= one.high
    assert n_missed <= 2


def test_the_interval_reaches_over_all_curves_that_the_points_do_not_reject() -> None:
    """With noise, growth by the logarithm and a curve that nearly ended both fit: wider than either interval alone."""
    scores = 0.9 - 2 * SIZES**-0.5 + NOISE
    (whole,) = forecasts(SIZES, scores, [6400], 0.95)
    (sooner,) = forecasts(SIZES, scores, [3200], 0.95)
    assert whole.low < 0.9 - 2 / np.sqrt(6400) < whole.high
    assert whole.high - whole.low > sooner.high - sooner.low


def test_three_sizes_are_too_few() -> None:
    """Nothing is forecast, however often they were measured."""
    assert forecasts(np.repeat([10.0, 20.0, 40.0], 5), np.linspace(0.1, 0.2, 15), [80], 0.95) == []


def test_forecasts_stay_scores() -> None:
    """A curve that rises steeply to .99 is not continued above 1."""
    (one,) = forecasts(SIZES, 0.1 + 0.11 * np.log2(SIZES / 100) * 2, [1e6], 0.95)
    assert one.value == one.high == 1.0


def points(shares: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0), gain: float = 0.04) -> list[Labelled]:
    """Three draws of 1,600 queries whose scores grow by `gain` with each doubling, with noise."""
    return [
        Labelled(draw, share, round(1600 * share), round(1700 * share), dict.fromkeys(SCORED, score))
        for draw, noise in enumerate((0.002, -0.001, -0.001))
        for share in shares
        for score in (0.7 + gain * float(np.log2(share)) + noise * (1 + share),)
    ]


def test_the_receipt_holds_forecasts_and_their_check() -> None:
    """Growth by the logarithm: .04 more with twice the labels; half of the labels forecast what all brought."""
    receipt = receipt_of(points(), 0.95)
    assert receipt["n_queries"] == 1600 and receipt["test_ndcg@10"] == pytest.approx(0.7)
    assert receipt["test_ndcg@10.twice.low"] < 0.74 < receipt["test_ndcg@10.twice.high"]
    assert receipt["test_ndcg@10.four_times.low"] < 0.78 < receipt["test_ndcg@10.four_times.high"]
    assert receipt["test_ndcg@10.check.is_within"] is True
    (of_half,) = forecasts_of(points(), "test_ndcg@10", 0.5, [2], 0.95)
    assert of_half.n == 1600 and receipt["test_ndcg@10.check.low"] == of_half.low


def test_labels_that_stop_helping_fail_the_check_and_the_sentence_says_so() -> None:
    """The last doubling brings a loss of .1 in place of a gain."""
    broken = [
        Labelled(one.draw, one.share, one.n_queries, one.n_pairs, dict.fromkeys(SCORED, 0.56))
        if one.share == 1
        else one
        for one in points()
    ]
    receipt = receipt_of(broken, 0.95)
    assert receipt["test_recall@10.check.is_within"] is False
    assert sentence(receipt, "recall@10").endswith("which did not hold: do not rely on it.")


def test_the_sentence_gives_gains_over_what_all_labels_brought() -> None:
    """.66 to .74 where .650 was measured is +.010 to +.090; another measure than the two is told by nDCG@10."""
    figures = {"test_ndcg@10": 0.65, "test_ndcg@10.twice.low": 0.66, "test_ndcg@10.twice.high": 0.74, "n_queries": 1600}
    figures |= {"test_ndcg@10.four_times.low": 0.64, "test_ndcg@10.four_times.high": 0.8}
    said = sentence(figures, "mrr@10")
    assert said == (
        "With all 1,600 labelled train queries the query adapter has ndcg@10 0.650 on test. Expected with twice the "
        "labels: +0.010 to +0.090; four times the labels: -0.010 to +0.150."
    )
    assert sentence({}, "ndcg@10").startswith("The label curve is off (curve.draws: 0)")
    assert "too few for a label curve" in sentence(receipt_of(points((0.5, 1.0)), 0.95), "ndcg@10")


def test_the_table_holds_a_row_per_draw_and_share() -> None:
    """Scores have six digits."""
    rows = table(points())
    assert rows.height == 15 and rows["n_queries"].to_list()[:5] == [100, 200, 400, 800, 1600]
    assert rows["test_ndcg@10"][4] == 0.704
