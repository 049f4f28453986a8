"""The encoder that ships: the best on dev that beats the base beyond noise and keeps the floors; else the base.

Standard errors are those of statsmodels; the share kept has the bootstrap's.
"""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from attune.tuning.choice import Choice, Refusal, Scored, choose
from attune.tuning.curve import BASE, Candidate
from attune.tuning.estimates import Estimate, gain, kept

HALF, WHOLE, AVERAGE = Candidate(8, 1, 0.5), Candidate(8, 1, 1.0), Candidate(8, 2, 1.0)
EARLY = Candidate(4, 1, 0.5)
BASE_DEV = 0.5


def scored(candidate: Candidate, gained: float, error: float) -> Scored:
    return Scored(candidate, BASE_DEV + gained, Estimate(gained, error))


def chosen(candidates: list[Scored], missed: dict[Candidate, Refusal] | None = None, least: float = 1.0) -> Choice:
    """Returns the choice where some candidates miss a floor."""
    return choose(candidates, lambda candidate: (missed or {}).get(candidate, Refusal.NONE), least)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        # the best one is beyond noise, and the next is lower
        ([scored(HALF, 0.05, 0.01), scored(WHOLE, 0.08, 0.02)], Choice(WHOLE, HALF, Refusal.NONE)),
        # all within noise
        ([scored(HALF, 0.01, 0.02), scored(WHOLE, 0.03, 0.04)], Choice(BASE, WHOLE, Refusal.NOISE)),
        # the best may be chance, the second is not
        ([scored(HALF, 0.05, 0.01), scored(WHOLE, 0.06, 0.07)], Choice(HALF, WHOLE, Refusal.NOISE)),
        # a gain of just its standard error does not count
        ([scored(HALF, 0.02, 0.02)], Choice(BASE, HALF, Refusal.NOISE)),
        # lower than the base: no reason is needed
        ([scored(HALF, -0.02, 0.01), scored(WHOLE, -0.1, 0.01)], Choice(BASE, HALF, Refusal.NONE)),
        # one cluster tells nothing, however large the gain
        ([scored(WHOLE, 0.3, float("inf"))], Choice(BASE, WHOLE, Refusal.NOISE)),
        # equal to 6 digits: the smaller share, the earlier step, one checkpoint before an average
        ([scored(WHOLE, 0.05, 0.01), scored(HALF, 0.0500004, 0.01)], Choice(HALF, WHOLE, Refusal.NONE)),
        ([scored(HALF, 0.05, 0.01), scored(EARLY, 0.05, 0.01)], Choice(EARLY, HALF, Refusal.NONE)),
        ([scored(AVERAGE, 0.05, 0.01), scored(WHOLE, 0.05, 0.01)], Choice(WHOLE, AVERAGE, Refusal.NONE)),
        # nothing was trained
        ([], Choice(BASE, None, Refusal.NONE)),
        ([scored(HALF, 0.05, 0.01)], Choice(HALF, None, Refusal.NONE)),
    ],
)
def test_the_best_candidate_beyond_noise_is_chosen(candidates: list[Scored], expected: Choice) -> None:
    """Case by case, in any order of the candidates."""
    assert chosen(candidates) == chosen(candidates[::-1]) == expected


THREE = [scored(EARLY, 0.04, 0.01), scored(HALF, 0.06, 0.01), scored(WHOLE, 0.08, 0.01)]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ({WHOLE: Refusal.GENERAL}, Choice(HALF, WHOLE, Refusal.GENERAL)),
        ({WHOLE: Refusal.NEAR_DOMAIN, HALF: Refusal.GENERAL}, Choice(EARLY, WHOLE, Refusal.NEAR_DOMAIN)),
        ({HALF: Refusal.GENERAL}, Choice(WHOLE, HALF, Refusal.NONE)),
        (dict.fromkeys((EARLY, HALF, WHOLE), Refusal.NEAR_DOMAIN), Choice(BASE, WHOLE, Refusal.NEAR_DOMAIN)),
    ],
)
def test_a_candidate_that_misses_a_floor_gives_way_to_the_next(
    missed: dict[Candidate, Refusal], expected: Choice
) -> None:
    """The one that came next is named with its floor, if it was looked at; if all miss one, base ships."""
    assert chosen(THREE, missed) == expected


@pytest.mark.parametrize(
    ("least", "missed", "expected"),
    [
        (1.0, {}, WHOLE),
        (0.8, {}, WHOLE),  # .8 of .08 is .064
        (0.75, {}, HALF),  # .06 is just enough, and both shares of .5 are smaller than 1
        (0.5, {}, HALF),  # at one share the better one
        (0.75, {HALF: Refusal.GENERAL}, WHOLE),
        (0.4, {WHOLE: Refusal.GENERAL}, HALF),
    ],
)
def test_a_smaller_share_with_enough_of_the_gain_is_preferred(
    least: float, missed: dict[Candidate, Refusal], expected: Candidate
) -> None:
    """By hand; the smaller share has to keep the floors, too."""
    assert chosen(THREE, missed, least).chosen == expected


def test_min_gain_kept_never_prefers_a_gain_within_noise() -> None:
    """Half of the weights have 90% of the gain, but within one standard error."""
    assert chosen([scored(HALF, 0.072, 0.08), scored(WHOLE, 0.08, 0.01)], least=0.5).chosen == WHOLE


@pytest.mark.parametrize(
    ("n_missing", "least", "asked"),
    [(0, 1.0, [WHOLE]), (1, 1.0, [WHOLE, HALF]), (3, 1.0, [WHOLE, HALF, EARLY]), (0, 0.5, [WHOLE, HALF])],
)
def test_floors_are_asked_for_no_more_than_needed(n_missing: int, least: float, asked: list[Candidate]) -> None:
    """Best first, each once, and never for a candidate within noise."""
    calls: list[Candidate] = []

    def missed(candidate: Candidate) -> Refusal:
        calls.append(candidate)
        return Refusal.GENERAL if len(calls) <= n_missing else Refusal.NONE

    choose([*THREE, scored(AVERAGE, 0.09, 0.1)], missed, least)
    assert calls == asked


@given(st.integers(2, 200), st.floats(1e-3, 1), st.floats(0, 1))
def test_one_won_query_alone_is_never_beyond_noise(n: int, won: float, level: float) -> None:
    """All others score as the base does: the gain is its standard error, whatever the number of queries."""
    of_base = np.full(n, level)
    values = of_base.copy()
    values[n // 2] += won
    own = gain(values, of_base, np.arange(n))
    assert own.error == pytest.approx(own.value)
    assert not Scored(WHOLE, 0.0, own).is_beyond_noise


def test_queries_of_one_cluster_are_no_evidence() -> None:
    """However many there are; of two clusters one that wins is not enough, and two that win are."""
    of_base, won = np.zeros(40), np.full(40, 0.3)
    one, two = np.zeros(40, np.int64), np.arange(40) // 20
    assert gain(won, of_base, one).error == float("inf")
    assert not Scored(WHOLE, 0.3, gain(won, of_base, one)).is_beyond_noise
    assert not Scored(WHOLE, 0.15, gain(np.where(two == 0, won, 0), of_base, two)).is_beyond_noise
    assert Scored(WHOLE, 0.3, gain(won, of_base, two)).is_beyond_noise


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 20))
def test_the_standard_error_of_a_gain_is_statsmodels(seed: int, n: int, n_clusters: int) -> None:
    """Cluster-robust least squares on a constant, with the correction for few clusters, for any numbers of clusters."""
    chance = np.random.default_rng(seed)
    clusters = chance.integers(0, n_clusters, n) * 3  # numbers with gaps
    clusters[:2] = (0, 3)
    values, of_base = chance.random(n), chance.random(n)
    own = gain(values, of_base, clusters)
    # statsmodels' other correction, (n - 1) / (n - 1), is 1
    options = {"groups": clusters, "use_correction": True}
    fitted = sm.OLS(values - of_base, np.ones(n)).fit(cov_type="cluster", cov_kwds=options)
    assert own.value == pytest.approx(fitted.params[0])
    assert own.error == pytest.approx(fitted.bse[0], rel=1e-6, abs=1e-9)


def test_the_standard_error_of_a_share_kept_is_the_bootstraps() -> None:
    """Within 5%, over 80 clusters of five queries that resemble each other; the share is of the mean."""
    chance = np.random.default_rng(7)
    clusters = np.repeat(np.arange(80), 5)
    of_base = np.clip(0.5 + 0.3 * chance.normal(size=80)[clusters] + 0.1 * chance.normal(size=400), 0, 1)
    values = np.clip(of_base * 0.9 + 0.2 * chance.normal(size=80)[clusters] + 0.1 * chance.normal(size=400), 0, 1)
    sums, base_sums = (np.bincount(clusters, weights=own) for own in (values, of_base))
    drawn = chance.integers(0, 80, (20000, 80))
    resampled = sums[drawn].sum(axis=1) / base_sums[drawn].sum(axis=1)
    own = kept(values, of_base, clusters)
    assert own.value == pytest.approx(values.sum() / of_base.sum())
    assert own.error == pytest.approx(resampled.std(), rel=0.05)


def test_a_base_that_finds_nothing_has_nothing_to_lose() -> None:
    """Share 1 without an error; the same scores are share 1, too."""
    zeros, ones, clusters = np.zeros(3), np.ones(3), np.arange(3)
    assert kept(ones, zeros, clusters) == kept(ones, ones, clusters) == Estimate(1.0, 0.0)


@pytest.mark.parametrize("n_queries", [10, 30, 100, 1000])
def test_without_a_true_gain_base_is_often_kept(n_queries: int) -> None:
    """One candidate is taken falsely in about a sixth of cases, one of 20 alike (correlation .8) in about half of them.

    One standard error is a low bar, on purpose: a false choice costs nothing on average, as all are equally good.
    """
    chance = np.random.default_rng(5)
    of_base, clusters = np.full(n_queries, 0.5), np.arange(n_queries)
    n_runs, n_false = 200, {1: 0, 20: 0}
    for _ in range(n_runs):
        shared, own = chance.normal(size=n_queries), chance.normal(size=(20, n_queries))
        moved = chance.random(n_queries) < 0.4  # the ranks of other queries stay
        changes = 0.2 * moved * (np.sqrt(0.8) * shared + np.sqrt(0.2) * own)
        candidates = [
            Scored(Candidate(step, 1, 1.0), 0.5 + float(change.mean()), gain(of_base + change, of_base, clusters))
            for step, change in enumerate(changes, start=1)
        ]
        for n in n_false:
            n_false[n] += chosen(candidates[:n]).chosen != BASE
    assert 0.08 < n_false[1] / n_runs < 0.25
    assert n_false[1] < n_false[20] < 0.6 * n_runs
