"""Many comparisons raise no more false alarms than one; figures agree with independent libraries."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import IIDBootstrap
from hypothesis import given
from hypothesis import strategies as st
from mlxtend.evaluate import permutation_test
from statsmodels.stats.multitest import multipletests

from attune.errors import BadInput
from attune.evaluation.statistics.comparisons import TaskComparison, compare_tasks
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import compare
from attune.plots import COMPARISONS, read_csv, records_table, write_csv

CONFIDENCE = 0.95


def test_holms_correction_by_hand() -> None:
    """The smallest p-value of four is multiplied by four, the next by three; corrected values never decrease."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []


def test_the_correction_is_that_of_statsmodels() -> None:
    """To the last digit, for families of one to sixty p-values, many of them small and some equal, 0 or 1."""
    random = np.random.default_rng(3)
    for n in (1, 2, 7, 60):
        p_values = [*random.random(n).round(1) ** 6, 0.0, 1.0][-n:]
        assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist()


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=20), st.sampled_from([0.01, 0.05, 0.2]))
def test_corrected_p_values_reject_what_holms_procedure_rejects(p_values: list[float], level: float) -> None:
    """Holm (1979): from the smallest on reject p(k) as long as it is at most level / (m - k)."""
    expected: set[int] = set()
    for k, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] > level / (len(p_values) - k) * (1 - 1e-12):
            break
        expected.add(int(place))
    rejected = {place for place, p in enumerate(holm(p_values)) if p <= level * (1 - 1e-12)}
    assert rejected <= expected
    assert all(holm(p_values)[place] == pytest.approx(level) for place in expected - rejected)


def test_intervals_are_those_of_a_second_library() -> None:
    """arch draws and cuts by code of its own; at 400 queries its bootstrap and the jackknife agree."""
    deltas = np.random.default_rng(1).exponential(0.2, 400) - 0.1  # skewed, as retrieval's differences are
    low, high = IIDBootstrap(deltas, seed=3).conf_int(np.mean, reps=10_000, method="percentile", size=0.95)[:, 0]
    compared = compare({"m": np.zeros(400)}, {"m": deltas}, np.arange(400), CONFIDENCE)["m"]
    assert (compared.ci_low, compared.ci_high) == pytest.approx((low, high), abs=(high - low) / 20)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_p_values_are_those_of_a_second_library(shift: float) -> None:
    """mlxtend lists all sign flips of ten queries, and so do we; of 60 queries it draws 3,000."""
    rng = np.random.default_rng(2)
    base, tuned = rng.random(10), rng.random(10) + shift
    exact = permutation_test(tuned, base, paired=True, method="exact")
    assert compare({"m": base}, {"m": tuned}, np.arange(10), CONFIDENCE)["m"].p_value == pytest.approx(exact)
    base, tuned = rng.random(60), rng.random(60) + shift / 2
    drawn = permutation_test(tuned, base, paired=True, method="approximate", num_rounds=3000, seed=4)
    assert compare({"m": base}, {"m": tuned}, np.arange(60), CONFIDENCE)["m"].p_value == pytest.approx(drawn, abs=0.03)


def test_a_row_holds_its_comparison_and_all_rows_are_corrected_together() -> None:
    """Interval, p-value and wins are those of `compare`; Holm's correction spans tasks and measures."""
    rng = np.random.default_rng(5)
    base, tuned = ({m: rng.random(40) + shift for m in ("a", "b")} for shift in (0, 0.15))
    clusters = np.arange(40) // 2
    tasks = {"test": (base, tuned, clusters), "paraphrases": (tuned, base, np.arange(40))}
    rows = compare_tasks(tasks, CONFIDENCE, power=0.8)
    assert [(row.task, row.measure) for row in rows] == [
        *(("test", m) for m in "ab"),
        *(("paraphrases", m) for m in "ab"),
    ]
    first, alone = rows[0], compare(base, tuned, clusters, CONFIDENCE)["a"]
    assert (first.n, first.base, first.tuned) == (40, pytest.approx(base["a"].mean()), pytest.approx(tuned["a"].mean()))
    assert (first.delta, first.low, first.high, first.p) == (alone.delta, alone.ci_low, alone.ci_high, alone.p_value)
    assert (first.wins, first.ties, first.losses) == (alone.wins, alone.ties, alone.losses)
    family = Sensitivity.of(tuned["a"] - base["a"], clusters, 0.95, 0.8, n_comparisons=4)
    assert first.smallest_detectable == family.smallest_detectable
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    assert rows[2].delta == pytest.approx(-first.delta)
    other = compare(tuned, base, np.arange(40), CONFIDENCE)["a"]
    assert (rows[2].low, rows[2].high, rows[2].p) == (other.ci_low, other.ci_high, other.p_value)


def test_without_effect_the_rate_of_any_false_alarm_is_the_level() -> None:
    """200 reports of six comparisons each: uncorrected about one in four would raise an alarm."""
    rng = np.random.default_rng(6)
    noise = {str(i): rng.normal(0, 0.3, 60) for i in range(1200)}
    compared = compare(dict.fromkeys(noise, np.zeros(60)), noise, np.arange(60), 0.95)
    p_values = np.array([compared[str(i)].p_value for i in range(1200)]).reshape(200, 6)
    corrected = np.array([holm(list(row)) for row in p_values])
    assert 0.15 <= (p_values < 0.05).any(axis=1).mean() <= 0.36
    assert 0.01 <= (corrected < 0.05).any(axis=1).mean() <= 0.08


def test_the_csv_file_is_read_back_whatever_text_it_holds(tmp_path: Path) -> None:
    """Quotes and commas survive, floats are rounded to six digits, -0.0 is written as 0.0, no row leaves the header."""
    row = TaskComparison('a, "b"', "m", 3, 1 / 3, 0.5, -0.0, -1e-9, 0.25, 0.0002, 1.0, 1, 2, 0, 0.125)
    file = tmp_path / "comparisons.csv"
    write_csv(records_table([row], COMPARISONS), file, COMPARISONS)
    header, line = file.read_text().splitlines()
    assert header == "task,measure,n,base,tuned,delta,low,high,p,p_holm,wins,ties,losses,smallest_detectable"
    assert line == '"a, ""b""",m,3,0.333333,0.5,0.0,0.0,0.25,0.0002,1.0,1,2,0,0.125'
    assert read_csv(file, COMPARISONS).row(0)[:4] == ('a, "b"', "m", 3, 0.333333)
    write_csv(records_table([], COMPARISONS), file, COMPARISONS)
    assert file.read_text() == f"{header}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "slices.csv: not found; run `dvc repro`"),
        ("", "slices.csv: not a readable csv file"),
        ("slice,bin\na,b\n", "slices.csv: no column n; delete it"),
        ("slice,bin,n\na,b,1\na,b,many\n", "slices.csv:3: n is 'many', expected Int64; delete the file"),
    ],
)
def test_a_csv_file_of_another_kind_is_one_clear_line(tmp_path: Path, text: str | None, message: str) -> None:
    """A missing file, no csv, a missing column and a cell of another type are named with file and row."""
    file = tmp_path / "slices.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_csv(file, {"slice": pl.String, "bin": pl.String, "n": pl.Int64})
