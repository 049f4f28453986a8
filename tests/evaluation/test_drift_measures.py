"""Measures of drift agree with their definitions and with other implementations, and keep their invariants."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from attune.evaluation import drift
from attune.runtime.arrays import Float32

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Runs BLAS in one thread: products of small matrices are slow where several threads wait for a processor."""
    with threadpool_limits(1):
        yield


def unit(vectors: NDArray[np.floating]) -> Float32:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def spaces(seed: int, n: int = 120, dim: int = 6, noise: float = 0.5) -> tuple[Float32, Float32]:
    """Two spaces of the same texts, the second with noise added; neither is centred."""
    random = np.random.default_rng(seed)
    before = unit(random.normal(size=(n, dim)) + 0.5)
    return before, unit(before + noise * random.normal(size=(n, dim)))


def turn(space: Float32, seed: int) -> Float32:
    return (space @ ortho_group.rvs(space.shape[1], random_state=seed)).astype(np.float32)


def kept(shared: Float32, *others: Float32) -> tuple[float, float]:
    """CKA and neighbour overlap of enough texts to have both."""
    values = drift.linear_cka(shared, *others), drift.neighbour_overlap(shared, *others)
    assert values[0] is not None and values[1] is not None
    return values[0], values[1]


def test_nothing_moved_is_exactly_one() -> None:
    """In fewer texts than dimensions, too, where the best rotation is not unique."""
    for n, dim in ((120, 6), (drift.MIN_TEXTS, 160)):
        space, _ = spaces(0, n, dim)
        assert drift.neighbour_overlap(space, space) == drift.stale_overlap(space, space) == 1.0
        for measure in (drift.linear_cka, drift.same_cosine, drift.aligned_cosine):
            assert measure(space, space) == pytest.approx(1, abs=1e-7)
    space, _ = spaces(0, n=2, dim=3)
    assert drift.same_cosine(space, space) == pytest.approx(1) == drift.aligned_cosine(space, space)


def test_cka_is_debiased_by_its_definition_over_gram_matrices() -> None:
    """Song et al. 2012, equation 5, with the gram matrices' diagonals set to 0; a single point has no geometry."""
    before, after = spaces(1)
    n = len(before)

    def hsic(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
        total = one.sum() * two.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ two).sum()
        return float((np.trace(one @ two) + total) / (n * (n - 3)))

    one, two = (space.astype(float) @ space.T.astype(float) for space in (before, after))
    for gram in (one, two):
        np.fill_diagonal(gram, 0)
    expected = hsic(one, two) / np.sqrt(hsic(one, one) * hsic(two, two))
    assert drift.linear_cka(before, after) == pytest.approx(expected, abs=1e-9)
    assert drift.linear_cka(before, np.ones_like(after)) == 0


def test_unbiased_hsic_of_few_texts_is_that_of_many() -> None:
    """Over 400 samples of 20 of 400 texts of 80 dimensions its mean is their own value; the plain one is 5 times it."""
    random = np.random.default_rng(11)
    before = random.normal(size=(400, 80))
    after = 0.5 * before + random.normal(size=(400, 80))

    def centred(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        one, two = before[rows], after[rows]
        return one - one.mean(axis=0), two - two.mean(axis=0)

    whole = drift.unbiased_hsic(*centred(np.arange(400))) / (400 * 397)
    samples = [centred(random.choice(400, 20, replace=False)) for _ in range(400)]
    assert np.mean([drift.unbiased_hsic(*pair) for pair in samples]) / (20 * 17) == pytest.approx(whole, rel=0.1)
    plain = np.mean([np.linalg.norm(one.T @ two) ** 2 for one, two in samples]) / 19**2
    assert plain > 4 * whole


@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize("dim", [3, 384])
def test_unrelated_spaces_share_nothing_beyond_chance(n: int, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: two random spaces, in a cone as encoders' spaces are. 0 in the mean, and never above the limit of .3.

    As shares of 10 neighbours, 30 texts have .34 of them by chance, and the plain CKA of 384 dimensions is .93.
    """
    monkeypatch.setattr(drift, "MIN_TEXTS", 12)
    random = np.random.default_rng(n + dim)
    pairs = [[unit(random.normal(size=(n, dim)) + 0.2) for _ in range(2)] for _ in range(max(2, 1500 // n))]
    overlaps, ckas = np.array([kept(*pair)[::-1] for pair in pairs]).T
    assert abs(overlaps.mean()) < 0.02 and (overlaps >= 0.3).mean() <= 0.05
    assert abs(ckas.mean()) < 0.06 and (ckas >= 0.3).mean() <= 0.05


def test_twelve_unrelated_texts_share_nothing_beyond_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: 10 of 11 others are neighbours in any space, a share of .91; beyond chance it is 0 in the mean."""
    monkeypatch.setattr(drift, "MIN_TEXTS", 12)
    random = np.random.default_rng(0)
    pairs = [[unit(random.normal(size=(12, 64))) for _ in range(2)] for _ in range(300)]
    plain = [drift.overlap(*(drift.nearest(space, space, 10) for space in pair)) for pair in pairs]
    assert np.mean(plain) == pytest.approx(10 / 11, abs=0.01)
    assert np.mean([kept(*pair)[1] for pair in pairs]) == pytest.approx(0, abs=0.02)


def test_too_few_texts_have_no_overlap_and_no_cka() -> None:
    """None below MIN_TEXTS, a number from MIN_TEXTS on."""
    for n, is_measured in ((drift.MIN_TEXTS, True), (drift.MIN_TEXTS - 1, False), (12, False), (1, False)):
        before, after = spaces(9, n)
        for measure in (drift.linear_cka, drift.neighbour_overlap, drift.stale_overlap):
            assert (measure(before, after) is not None) == is_measured


def scatter(n: int, share: float) -> float:
    """Width that 95% of samples' CKAs and overlaps have around their mean: the larger of both.

    Planted: samples of n texts from spaces whose directions have falling variance, as an encoder's have; the second
    holds noise, so that a share of the variance is the first's. 0 gives unrelated spaces.
    """
    random = np.random.default_rng(7)
    texts = random.normal(size=(2000, 64)) * np.arange(1, 65) ** -0.35
    noise = random.normal(size=texts.shape) * np.arange(1, 65) ** -0.35
    before, after = unit(texts), unit(np.sqrt(share) * texts + np.sqrt(1 - share) * noise)
    samples = [random.choice(2000, n, replace=False) for _ in range(150)]
    values = np.array([kept(before[rows], after[rows]) for rows in samples])
    return float(np.quantile(np.abs(values - values.mean(axis=0)), 0.95, axis=0).max())


def test_the_least_number_of_texts_measures_to_six_hundredths(monkeypatch: pytest.MonkeyPatch) -> None:
    """At MIN_TEXTS, 95% of samples lie within .06 of their mean, however much moved; at half of it they do not."""
    n = drift.MIN_TEXTS
    monkeypatch.setattr(drift, "MIN_TEXTS", 12)
    for share in (0.0, 0.3, 0.8):
        assert scatter(n, share) <= 0.06
    assert scatter(n // 2, 0.3) > 0.06


def test_equal_texts_count_once() -> None:
    """Planted: 100 texts 15 times each, in spaces that are unrelated. Each text's neighbours are its copies: 1.000.

    Left out, nothing is kept. A copy with float32 error is found, and texts that only one space makes equal stay.
    """
    random = np.random.default_rng(3)
    before, after = (unit(random.normal(size=(100, 32))) for _ in range(2))
    copies = np.repeat(np.arange(100), 15)
    assert kept(before[copies], after[copies])[1] == 1.0
    rows = drift.distinct(before[copies], after[copies])
    assert rows.tolist() == list(range(0, 1500, 15))
    assert abs(kept(before[copies][rows], after[copies][rows])[1]) < 0.1
    nearly = unit(before[copies] + random.normal(scale=1e-7, size=(1500, 32)))
    assert drift.distinct(nearly, after[copies]).tolist() == rows.tolist()
    assert len(drift.distinct(before[copies], unit(random.normal(size=(1500, 32))))) == 1500
    collapsed = np.tile(after[:1], (100, 1))
    assert len(drift.distinct(before, collapsed)) == 100 and len(drift.distinct(collapsed, collapsed)) == 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 7))
def test_distinct_is_the_first_row_of_each_text(texts: list[int], block: int) -> None:
    """Whatever the order of the texts and the size of the blocks."""
    vectors = np.eye(6, dtype=np.float32)[texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "BLOCK", block)
        rows = drift.distinct(vectors, vectors)
    assert rows.tolist() == sorted(texts.index(text) for text in set(texts))


def test_neighbours_are_scikit_learns() -> None:
    """By cosine, a text not its own neighbour, across several blocks of rows, and in another space."""
    before, after = spaces(2, n=drift.BLOCK + 300, dim=12)
    theirs = NearestNeighbors(n_neighbors=10, metric="cosine").fit(before).kneighbors(return_distance=False)
    ours = drift.nearest(before, before, 10)
    assert (np.sort(ours) == np.sort(theirs)).mean() > 0.999  # but for ties
    expected_rows = (
        NearestNeighbors(n_neighbors=11, metric="cosine").fit(before).kneighbors(after, return_distance=False)
    )
    across = drift.nearest(after, before, 10)
    for row in range(0, len(after), 50):
        assert set(across[row]) == set([other for other in expected_rows[row] if other != row][:10])


def test_overlaps_by_hand() -> None:
    """Four texts on a circle; after, the third has moved beside the first.

    One neighbour each. Before: 0-1, 1-0, 2-3, 3-2. After: 0-2, 1-2, 2-0 and 3-1, so none is kept. After among before:
    0-1 and 1-0, 2 (now at 10 degrees) nearest to 0, 3-2; after among after as above: only 2-0 is the same.
    """
    degrees = np.array([[0, 30, 90, 110], [0, 30, 14, 110]])
    before, after = (unit(np.stack([np.cos(angle), np.sin(angle)], axis=1)) for angle in np.deg2rad(degrees))
    assert drift.nearest(before, before, 1).ravel().tolist() == [1, 0, 3, 2]
    assert drift.nearest(after, after, 1).ravel().tolist() == [2, 2, 0, 1]
    assert drift.nearest(after, before, 1).ravel().tolist() == [1, 0, 0, 2]
    new = drift.nearest(after, after, 1)
    assert drift.overlap(drift.nearest(before, before, 1), new) == 0
    assert drift.overlap(drift.nearest(after, before, 1), new) == 0.25
    # one of three others is a neighbour by chance
    assert drift.beyond_chance(0.25, 1, 4) == pytest.approx((1 / 4 - 1 / 3) / (2 / 3))
    assert (drift.beyond_chance(1 / 3, 1, 4), drift.beyond_chance(1, 1, 4)) == (0, 1)


def test_aligned_cosine_is_scipys_procrustes_on_unseen_texts() -> None:
    """Five folds by row, each measured with the rotation that scipy fits to the other four."""
    before, after = spaces(4)
    after = turn(after, 1)
    x, y = before.astype(float), after.astype(float)
    cosines = []
    for fold in range(5):
        test = np.arange(len(x)) % 5 == fold
        rotation, _ = orthogonal_procrustes(x[~test], y[~test])
        cosines += list(((x[test] @ rotation) * y[test]).sum(axis=1))
    assert drift.aligned_cosine(before, after) == pytest.approx(np.mean(cosines), abs=1e-4)


def test_unrelated_spaces_are_not_aligned() -> None:
    """Fitted and measured on the same 80 texts of 64 dimensions, their mean cosine would be above .7."""
    random = np.random.default_rng(5)
    before, after = (unit(random.normal(size=(80, 64))) for _ in range(2))
    rotation, _ = orthogonal_procrustes(before, after)
    assert ((before @ rotation) * after).sum(axis=1).mean() > 0.7
    assert abs(drift.aligned_cosine(before, after)) < 0.1


def test_anisotropy_and_uniformity_are_means_over_all_pairs() -> None:
    """By scipy's distances, across several blocks of rows."""
    space, _ = spaces(6, n=drift.BLOCK + 100, dim=5)
    assert drift.anisotropy(space) == pytest.approx((1 - pdist(space, "cosine")).mean(), abs=1e-6)
    assert drift.uniformity(space) == pytest.approx(np.log(np.exp(-2 * pdist(space) ** 2).mean()), abs=1e-6)
    one = np.tile(space[:1], (10, 1))
    assert drift.anisotropy(one) == pytest.approx(1, abs=1e-6)
    assert drift.uniformity(one) == pytest.approx(0, abs=1e-6)


def test_alignment_by_hand() -> None:
    """Squared distances 0, 2 and 4 of the same, an orthogonal and an opposite vector."""
    queries = unit(np.array([[1.0, 0]] * 3))
    documents = unit(np.array([[1.0, 0], [0, 1], [-1, 0]]))
    assert drift.alignment(queries, documents) == pytest.approx(2)


@settings(deadline=None, max_examples=30)
@given(SEEDS, SEEDS, st.floats(0.01, 2))
def test_measures_of_geometry_are_invariant_to_rotation(seed: int, other: int, noise: float) -> None:
    """CKA, aligned cosine and neighbour overlap do not change, nor do anisotropy and uniformity."""
    before, after = spaces(seed, noise=noise)
    turned = turn(after, other)
    assert kept(before, turned)[0] == pytest.approx(kept(before, after)[0], abs=1e-5)
    assert drift.aligned_cosine(before, turned) == pytest.approx(drift.aligned_cosine(before, after), abs=2e-3)
    assert kept(before, turned)[1] == pytest.approx(kept(before, after)[1], abs=0.01)
    assert drift.anisotropy(turned) == pytest.approx(drift.anisotropy(after), abs=1e-5)
    assert drift.uniformity(turned) == pytest.approx(drift.uniformity(after), abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(SEEDS, SEEDS)
def test_measures_for_a_service_detect_a_rotation(seed: int, other: int) -> None:
    """A rotated index is useless to unrotated queries, although the geometry is the same."""
    space, _ = spaces(seed, n=200, dim=16)  # 10 of 199 are .05 by chance
    turned = turn(space - space.mean(axis=0), other)
    turned = unit(turned)
    original = unit(space - space.mean(axis=0))
    stale = drift.stale_overlap(original, turned)
    assert kept(original, turned)[0] > 0.999 and stale is not None and stale < 0.4
    assert drift.same_cosine(original, turned) < 0.9


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0, 3))
def test_every_measure_stays_in_its_bounds(seed: int, noise: float) -> None:
    """Shares stay at most 1 and at least at what none shared is beyond chance, cosines in -1..1, uniformity below 0."""
    before, after = spaces(seed, noise=noise)
    none, stale = drift.beyond_chance(0, 10, len(before)), drift.stale_overlap(before, after)
    cka, neighbours = kept(before, after)
    assert -1 - 1e-9 <= cka <= 1 + 1e-9
    assert stale is not None and none <= stale <= 1
    assert none <= neighbours <= 1
    assert -1 <= drift.same_cosine(before, after) <= 1 + 1e-6
    assert -1 <= drift.aligned_cosine(before, after) <= 1 + 1e-6
    assert drift.uniformity(after) <= 1e-6


def sample(random: np.random.Generator, n: int, share: float, n_topics: int) -> tuple[Float32, Float32]:
    """Draws n texts of topics, by both encoders: the second space holds a share of the first one's variance."""
    topics = np.random.default_rng(5).normal(size=(2, n_topics, 32))
    texts, noise = random.normal(size=(2, n, 32)) + topics[:, random.integers(0, n_topics, n)]
    return unit(texts), unit(np.sqrt(share) * texts + np.sqrt(1 - share) * noise)


@pytest.mark.parametrize(("n", "share", "n_topics"), [(100, 0.6, 10), (100, 0.6, 100), (100, 0.0, 100), (300, 0.6, 30)])
def test_intervals_of_overlaps_hold_the_mean_of_all_samples(n: int, share: float, n_topics: int) -> None:
    """In at least 95% of samples, of related and unrelated spaces."""
    random = np.random.default_rng(n)
    pairs = [sample(random, n, share, n_topics) for _ in range(120)]
    for value, interval in (
        (drift.neighbour_overlap, drift.neighbour_interval),
        (drift.stale_overlap, drift.stale_interval),
    ):
        values = np.array([value(*pair) for pair in pairs], dtype=np.float64)
        low, high = np.array([interval(*pair, 0.95) for pair in pairs], dtype=np.float64).T
        assert ((low <= values.mean()) & (values.mean() <= high)).mean() >= 0.95
        assert np.mean(high - low) < 0.25  # wide, but no interval of everything


def test_the_interval_leaves_each_tenth_of_the_texts_out_as_query_and_neighbour() -> None:
    """Recomputed from the vectors without each tenth, the ends are those of the jackknife's t interval."""
    before, after = spaces(3, n=120)
    group = np.arange(120) % 10
    for value, interval in (
        (drift.neighbour_overlap, drift.neighbour_interval),
        (drift.stale_overlap, drift.stale_interval),
        (drift.same_cosine, drift.cosine_interval),
    ):
        left_out = np.array([value(before[group != one], after[group != one]) for one in range(10)], dtype=np.float64)
        reach = 2.262157 * 9 / np.sqrt(10) * left_out.std(ddof=1)  # t of 9 degrees of freedom
        whole = value(before, after)
        assert whole is not None
        assert interval(before, after, 0.95) == (pytest.approx(whole - reach), pytest.approx(whole + reach))


def test_intervals_of_what_did_not_move_are_one_point_and_of_too_few_texts_none() -> None:
    """Equal spaces keep all; below MIN_TEXTS there is nothing to give."""
    before, _ = spaces(4)
    for interval in (drift.neighbour_interval, drift.stale_interval, drift.cosine_interval):
        assert interval(before, before, 0.95) == (pytest.approx(1), pytest.approx(1))
    few = spaces(4, n=drift.MIN_TEXTS - 1)
    assert drift.neighbour_interval(*few, 0.95) == drift.stale_interval(*few, 0.95) == (None, None)


@pytest.mark.parametrize("n", [100, 1000])
def test_lost_neighbours_are_rarely_called_kept_or_kept_ones_lost(n: int) -> None:
    """Planted: spaces whose overlap is a limit, in the mean of samples. Neither answer in more than 5% of samples."""
    random = np.random.default_rng(n + 1)
    pairs = [sample(random, n, 0.6, n // 10) for _ in range(12000 // n)]
    limit = np.mean([kept(*pair)[1] for pair in pairs])
    ends = np.array([drift.neighbour_interval(*pair, 0.95) for pair in pairs], dtype=np.float64)
    assert (ends[:, 0] >= limit).mean() <= 0.05 and (ends[:, 1] < limit).mean() <= 0.05
