"""Measures of drift agree with their definitions and with other implementations, and keep their invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors

from attune.evaluation import drift
from attune.runtime.arrays import Float32

SEEDS = st.integers(0, 2**32 - 1)


def unit(vectors: NDArray[np.floating]) -> Float32:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def spaces(seed: int, n: int = 60, dim: int = 6, noise: float = 0.5) -> tuple[Float32, Float32]:
    """Two spaces of the same texts, the second with noise added; neither is centred."""
    random = np.random.default_rng(seed)
    before = unit(random.normal(size=(n, dim)) + 0.5)
    return before, unit(before + noise * random.normal(size=(n, dim)))


def turn(space: Float32, seed: int) -> Float32:
    return (space @ ortho_group.rvs(space.shape[1], random_state=seed)).astype(np.float32)


def test_nothing_moved_is_exactly_one() -> None:
    """In fewer texts than dimensions, too, where the best rotation is not unique."""
    for n, dim in ((60, 6), (12, 40), (2, 3)):
        space, _ = spaces(0, n, dim)
        assert drift.neighbour_overlap(space, space) == drift.stale_overlap(space, space) == 1.0
        for measure in (drift.linear_cka, drift.same_cosine, drift.aligned_cosine):
            assert measure(space, space) == pytest.approx(1, abs=1e-7)


def test_cka_equals_the_normalised_hsic_of_the_gram_matrices() -> None:
    """Kornblith et al., equations 2 and 3."""
    before, after = spaces(1)
    n = len(before)
    centre = np.eye(n) - 1 / n
    one, two = (centre @ (space.astype(float) @ space.T.astype(float)) @ centre for space in (before, after))
    expected = (one * two).sum() / np.sqrt((one * one).sum() * (two * two).sum())
    assert drift.linear_cka(before, after) == pytest.approx(expected, abs=1e-9)
    assert drift.linear_cka(before, np.ones_like(after)) == 0


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
    assert drift.neighbour_overlap(before, after, 1) == 0
    assert drift.stale_overlap(before, after, 1) == 0.25


def test_few_texts_have_all_others_for_neighbours() -> None:
    """Of five texts each has the four others as neighbours in both spaces."""
    before, after = spaces(3, n=5)
    assert drift.neighbour_overlap(before, after) == 1


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
    assert drift.linear_cka(before, turned) == pytest.approx(drift.linear_cka(before, after), abs=1e-5)
    assert drift.aligned_cosine(before, turned) == pytest.approx(drift.aligned_cosine(before, after), abs=2e-3)
    assert drift.neighbour_overlap(before, turned) == pytest.approx(drift.neighbour_overlap(before, after), abs=0.01)
    assert drift.anisotropy(turned) == pytest.approx(drift.anisotropy(after), abs=1e-5)
    assert drift.uniformity(turned) == pytest.approx(drift.uniformity(after), abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(SEEDS, SEEDS)
def test_measures_for_a_service_detect_a_rotation(seed: int, other: int) -> None:
    """A rotated index is useless to unrotated queries, although the geometry is the same."""
    space, _ = spaces(seed, n=200, dim=16)
    turned = turn(space - space.mean(axis=0), other)
    turned = unit(turned)
    original = unit(space - space.mean(axis=0))
    assert drift.linear_cka(original, turned) > 0.999
    assert drift.stale_overlap(original, turned) < 0.4
    assert drift.same_cosine(original, turned) < 0.9


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0, 3))
def test_every_measure_stays_in_its_bounds(seed: int, noise: float) -> None:
    """Shares stay in 0..1, cosines in -1..1, uniformity at most 0, whatever the movement."""
    before, after = spaces(seed, n=40, noise=noise)
    assert 0 <= drift.linear_cka(before, after) <= 1 + 1e-9
    assert 0 <= drift.stale_overlap(before, after) <= 1
    assert 0 <= drift.neighbour_overlap(before, after) <= 1
    assert -1 <= drift.same_cosine(before, after) <= 1 + 1e-6
    assert -1 <= drift.aligned_cosine(before, after) <= 1 + 1e-6
    assert drift.uniformity(after) <= 1e-6
