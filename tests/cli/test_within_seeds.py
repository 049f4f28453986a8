"""Within what seeds do: the rule of `attune same` on planted runs, and on the runs of three classes of CPU."""

from pathlib import Path

import numpy as np
import pytest
from branches import ROOT
from dvc.repo import Repo
from numpy.typing import NDArray
from shipped_params import PANEL

from attune.cli.review.history import Revision
from attune.cli.review.same import Scores, differences, turned_verdicts
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.scoring.groups import KEPT, read_groups
from attune.stage import load_params

# Commits of one recipe on one split, before the panel of parameters: by class of CPU
CLASSES = {"AMX": "4a39698", "AVX-512 BF16": "d06034c", "AVX2": "bf4009d"}

Floats = NDArray[np.float64]


def ranks(tastes: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """Returns the (n_runs, n_queries) rank of each query's answer by encoders that differ by chance."""
    drawn: Floats = np.maximum(1, np.floor(np.exp(tastes + noise * rng.standard_normal((100, len(tastes))))))
    return drawn


def scores(answers: Floats, sizes: Floats, one_hot: Floats) -> list[Scores]:
    """Returns the scores by group of each run."""
    near = answers <= 10
    values = {"recall@10": near * 1.0, "mrr@10": near / answers, "ndcg@10": near / np.log2(answers + 1)}
    means = {measure: (each @ one_hot) / sizes for measure, each in values.items()}
    numbers = np.arange(len(sizes), dtype=np.float64)
    return [{"group": numbers, "n": sizes, **{key: means[key][run] for key in KEPT}} for run in range(len(answers))]


def fault_share(n_queries: int, noise: float, loss: float) -> float:
    """Returns the share of 300 pairs of runs of three systems that are called a fault; losses are in log ranks."""
    rng, found = np.random.default_rng(n_queries), []
    for _ in range(3):
        tastes, draws = rng.normal(0.2, 1.9, n_queries), rng.integers(0, 100, n_queries)
        one_hot = (draws[:, None] == np.unique(draws)).astype(float)
        sizes = one_hot.sum(axis=0)
        sides = [[scores(ranks(tastes + worse, noise, rng), sizes, one_hot) for _ in range(3)] for worse in (0.0, loss)]
        for run in range(100):
            pairs = {str(place): (old[run], new[run]) for place, (old, new) in enumerate(zip(*sides, strict=True))}
            found.append(not all(each.is_by_chance for each in differences(pairs, 0.95)))
    return float(np.mean(found))


@pytest.mark.parametrize("n_queries", [30, 100, 1000])
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_two_seeds_are_hardly_ever_called_a_fault(n_queries: int, noise: float) -> None:
    """Planted: each query's rank moves by chance, little or much, in three systems; at most 5% of pairs of runs."""
    assert fault_share(n_queries, noise, 0.0) <= 0.05


def test_a_true_loss_is_found() -> None:
    """Planted: all ranks grow by a quarter, which costs about .03 of recall@10; 1,000 queries tell it from seeds."""
    assert fault_share(1000, 0.35, 0.25) >= 0.95


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, str]]:
    """The figures of three commits by class of CPU, from this repository's history."""
    try:
        with Repo(str(ROOT)) as repo:
            sides = {name: Revision(repo, commit, ROOT) for name, commit in CLASSES.items()}
            return {
                name: {path: side.read(path) or "" for path in side.paths("metrics", "")}
                for name, side in sides.items()
            }
    except Exception as error:  # no git checkout, or a shallow clone
        pytest.skip(f"no such history here: {error}")


PAIRS = [("AMX", "AVX-512 BF16"), ("AMX", "AVX2"), ("AVX-512 BF16", "AVX2")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_three_classes_of_cpu_differ_as_seeds_do(figures: dict[str, dict[str, str]], one: str, other: str) -> None:
    """The default's recipe, trained on AMX, AVX-512 and AVX2, had one verdict and no difference beyond chance."""
    tables = {
        Path(path).stem: (read_groups(text, path), read_groups(figures[other][path], path))
        for path, text in figures[one].items()
        if path.startswith("metrics/plots/groups/")
    }
    found = differences(tables, 0.95)
    assert len(found) == 15 and all(each.is_by_chance for each in found)
    assert 0.002 < max(abs(each.delta) for each in found) < 0.01
    limits = load_params(GateParams, "gate", PANEL)
    turned, _ = turned_verdicts(Facts(read=figures[one].get), Facts(read=figures[other].get), limits)
    assert turned == []
