"""The learning rate is the middle one of those that short runs cannot tell from the best; probes by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from training import run_params

from attune.tuning.curve import Evaluation, Probe, TrainingResult, rate_rows
from attune.tuning.training.conflicts import BatchingKeys
from attune.tuning.training.fit import Schedule, TrainingData
from attune.tuning.training.rates import RATES, choose_rate, n_probe_steps, rates, search
from attune.tuning.training.runs import SeedRuns


def probe(rate: float, half: list[float], whole: list[float]) -> Probe:
    """Returns a probe with scores by query at shares .5 and 1."""
    return Probe(rate, 8, Evaluation(8, [0.5, 1.0], [half, whole]))


ALONE = np.arange(4)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        # the higher rate wins by .2 on every query: no noise at all
        ([0.5, 0.5, 0.5, 0.5], [0.7, 0.7, 0.7, 0.7], 2e-4),
        # differences .8, 0, 0, 0: mean .2, standard error .2, so the smaller one
        ([0.1, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5], 2e-5),
        # differences .4, .4, 0, 0: mean .2, standard error .115
        ([0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], 2e-4),
        # equal, or the lower is better
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], 2e-5),
        ([0.7, 0.7, 0.7, 0.7], [0.5, 0.5, 0.5, 0.5], 2e-5),
    ],
)
def test_of_two_rates_within_one_error_the_smaller_is_taken(
    low: list[float], high: list[float], expected: float
) -> None:
    """By hand, whatever the order of the probes; a bad half share does not count against a rate."""
    zeros = [0.0] * 4
    probes = [probe(2e-5, zeros, low), probe(2e-4, high, zeros)]
    assert choose_rate(probes, ALONE) == choose_rate(probes[::-1], ALONE) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.5, 0.5, 0.5], 1e-4),  # all alike: the middle one
        ([0.5, 0.5, 0.4], 5e-5),  # two of them: the smaller
        ([0.4, 0.5, 0.5], 1e-4),
        ([0.5, 0.4, 0.5], 5e-5),  # a gap between them does not count
        ([0.4, 0.4, 0.5], 2e-4),
        ([0.5, 0.4, 0.3], 5e-5),
    ],
)
def test_of_three_rates_the_middle_one_is_taken(scores: list[float], expected: float) -> None:
    """Of those as good as the best, where every query has the same score, so that every difference counts."""
    probes = [probe(rate, [0.0] * 4, [own] * 4) for rate, own in zip((5e-5, 1e-4, 2e-4), scores, strict=True)]
    assert choose_rate(probes, ALONE) == choose_rate(probes[::-1], ALONE) == expected


def test_one_cluster_cannot_tell_rates_apart() -> None:
    """The middle one of three, however good another is; then no rate is favoured."""
    probes = [probe(rate, [0.0] * 4, [own] * 4) for rate, own in ((2e-5, 0.9), (5e-5, 0.1), (1e-4, 0.5))]
    assert choose_rate(probes, np.zeros(4, np.int64)) == 5e-5
    assert choose_rate(probes, ALONE) == 2e-5


def test_queries_of_one_cluster_are_one_piece_of_evidence() -> None:
    """Two won queries of four are beyond noise apart, and within it where they are one cluster of two."""
    probes = [probe(2e-5, [0.1, 0.1, 0.5, 0.5], [0.0] * 4), probe(2e-4, [0.5, 0.5, 0.5, 0.5], [0.0] * 4)]
    assert choose_rate(probes, ALONE) == 2e-4
    assert choose_rate(probes, np.array([0, 0, 1, 1])) == 2e-5


def test_adapters_try_rates_ten_times_as_high() -> None:
    """Ascending in both cases."""
    assert rates(0) == [*RATES] == [2e-5, 5e-5, 1e-4, 2e-4]
    assert rates(8) == pytest.approx([2e-4, 5e-4, 1e-3, 2e-3])


@pytest.mark.parametrize(
    ("best", "tried"), [(2e-4, [5e-5, 1e-4, 2e-4]), (1e-4, [5e-5, 1e-4, 2e-4]), (5e-5, [2e-5, 5e-5, 1e-4])]
)
@pytest.mark.parametrize("lora_rank", [0, 8])
def test_three_rates_are_tried_on_the_side_of_the_better_one(best: float, tried: list[float], lora_rank: int) -> None:
    """The two in the middle first, then the outer one beside the better of them; returned in order of the rate."""
    factor, asked = 10 if lora_rank else 1, []

    def of(rate: float) -> Probe:
        asked.append(rate)
        return probe(rate, [0.0] * 4, [1 / (1 + abs(np.log(rate / (best * factor))))] * 4)

    found = [one.learning_rate for one in search(of, lora_rank, ALONE)]
    assert found == pytest.approx([rate * factor for rate in tried])
    assert sorted(asked) == found and asked[:2] == pytest.approx([5e-5 * factor, 1e-4 * factor])


@pytest.mark.parametrize(("n_steps", "expected"), [(0, 0), (5, 5), (27, 8), (128, 8), (484, 30), (2000, 125)])
def test_a_probe_takes_a_sixteenth_of_the_steps(n_steps: int, expected: int) -> None:
    """But eight at least, or all."""
    assert n_probe_steps(n_steps) == expected


def test_the_table_of_rates_has_a_row_per_rate_and_share() -> None:
    """Means over queries; both rows of the chosen rate are marked."""
    rows = rate_rows([probe(2e-5, [0.0, 1.0], [1.0, 1.0]), probe(2e-4, [0.0, 0.0], [0.0, 0.5])], 2e-4)
    assert [tuple(row.values()) for row in rows] == [
        (2e-5, 8, 0.5, 0.5, False),
        (2e-5, 8, 1.0, 1.0, False),
        (2e-4, 8, 0.5, 0.0, True),
        (2e-4, 8, 1.0, 0.25, True),
    ]


def rows_of(n_negatives: int) -> TrainingData:
    """Returns 32 rows, each with its own documents."""
    names = ["query", "positive", *(f"negative_{place + 1}" for place in range(n_negatives))]
    rows = Dataset.from_dict({name: [f"{name} {row}" for row in range(32)] for name in names})
    keys = replace(
        BatchingKeys.independent([9] * 32), documents=[range(row, row + 1 + n_negatives) for row in range(32)]
    )
    return TrainingData(rows, keys, [])


def seed_runs(folder: Path, n_negatives: int, **changes: object) -> SeedRuns:
    """Returns the runs of a seed with 12 steps (32 rows, 8 a step, three epochs) that nothing trains."""
    params = run_params(**({"learning_rate": "auto"} | changes))
    return SeedRuns(params, folder, folder, rows_of(n_negatives), None, None, folder)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("with_negatives", "without", "n_negatives"),
    [
        ({0: 0.5, 4: 0.6, 8: 0.55}, {0: 0.5, 4: 0.7}, 0),  # best early, and better without them
        ({0: 0.5, 6: 0.6}, {0: 0.5, 4: 0.6}, 1),  # best at the middle; no better without
        ({0: 0.5, 4: 0.4}, {0: 0.5, 4: 0.45}, 1),  # base is best of both
        ({0: 0.5, 8: 0.6}, None, 1),  # best late: no second run
    ],
)
def test_a_run_that_is_best_early_is_tried_without_hard_negatives(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    with_negatives: dict[int, float],
    without: dict[int, float] | None,
    n_negatives: int,
) -> None:
    """Dev decides between the two runs, whose rows differ in the negatives alone."""
    seen: list[list[str]] = []

    def run(self: SeedRuns, schedule: Schedule) -> TrainingResult:
        seen.append(self.data.rows.column_names)
        own = with_negatives if self.data.n_negatives else without
        evaluations = [Evaluation(step, [1.0], [[mean]]) for step, mean in (own or {}).items()]
        return TrainingResult({}, evaluations, 12, schedule.learning_rate, 3)

    monkeypatch.setattr(SeedRuns, "_run", run)
    result = seed_runs(tmp_path, 1).train(1e-4)
    assert seen == [["query", "positive", "negative_1"], ["query", "positive"]][: 1 if without is None else 2]
    assert (result.data.n_negatives, result.is_tried_without) == (n_negatives, without is not None)
    other = (without if n_negatives else with_negatives) or {0: 0.0}
    assert result.n_discarded_scores == len(other) - 1  # of its checkpoints, the start apart
    assert result.folder.name == (f"run-0.0001-{'rows' if n_negatives else 'none'}")
    assert [len(own) for own in result.data.keys.documents] == [1 + n_negatives] * 32


def test_a_run_with_negatives_from_the_batch_is_tried_without_them_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Best early, it is followed by one whose batches are drawn by length again, in a folder of its own."""
    seen: list[str] = []

    def run(self: SeedRuns, schedule: Schedule) -> TrainingResult:
        seen.append(self.data.hard_negatives)
        return TrainingResult({}, [Evaluation(0, [1.0], [[0.5]])], 12, schedule.learning_rate, 3)

    monkeypatch.setattr(SeedRuns, "_run", run)
    runs = seed_runs(tmp_path, 1)
    result = replace(runs, data=runs.data.with_negatives_in_batch()).train(1e-4)
    assert seen == ["batch", "none"]
    assert (result.data.hard_negatives, result.folder.name) == ("batch", "run-0.0001-batch")


@pytest.mark.parametrize(
    ("n_negatives", "changes"),
    [(0, {}), (1, {"learning_rate": 1e-4}), (1, {"loss": "triplet"}), (1, {"epochs": 0})],
)
def test_negatives_stay_where_there_is_no_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, n_negatives: int, changes: dict[str, object]
) -> None:
    """One run without hard negatives, at a given rate, of a loss that needs them, or that has no steps."""
    result = TrainingResult({}, [Evaluation(0, [0.0], [[0.5]])], 0, 1e-4, 3)
    monkeypatch.setattr(SeedRuns, "_run", lambda *_: result)
    own = seed_runs(tmp_path, n_negatives, **changes).train(1e-4)
    assert (own.data.n_negatives, own.is_tried_without) == (n_negatives, False)


def test_a_run_below_base_starts_again_at_a_third_of_its_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twice at most: the third run goes on however it begins."""
    schedules: list[Schedule] = []

    def run(_: SeedRuns, schedule: Schedule) -> TrainingResult:
        schedules.append(schedule)
        evaluations = [Evaluation(24, [1.0], [[0.5]])]
        return TrainingResult({}, evaluations, 0, schedule.learning_rate, 1, is_below_base=schedule.needs_gain)

    monkeypatch.setattr(SeedRuns, "_run", run)
    folder, result, n_restarts, *_, n_discarded_scores = seed_runs(tmp_path, 1).train(9e-5)
    assert [schedule.learning_rate for schedule in schedules] == pytest.approx([9e-5, 3e-5, 1e-5])
    assert (folder.name, n_restarts, n_discarded_scores) == ("run-1e-05-rows", 2, 2)
    assert result.learning_rate == pytest.approx(1e-5)
