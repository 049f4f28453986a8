"""The bench takes turns, counts by hand what an encoder needs, and leaves out in one line what is not there."""

import sys
from pathlib import Path

import pytest
from alternating import Run, Spread, alternate, rates, ratios, timed
from ceilings import Shape
from section import Section, Target, table
from workers import Gone, Worker


def test_competitors_take_turns_and_nobody_always_comes_second() -> None:
    """Two rounds that count after one that does not; the order turns round each time."""
    calls: list[str] = []
    times = {"one": iter([9.0, 1.0, 2.0]), "two": iter([9.0, 4.0, 6.0])}

    def run_of(name: str) -> Run:
        def run() -> float:
            calls.append(name)
            return next(times[name])

        return run

    seconds = alternate({name: run_of(name) for name in times}, rounds=2, warm=1)
    assert calls == ["one", "two", "two", "one", "one", "two"]
    assert seconds == {"one": [1.0, 2.0], "two": [4.0, 6.0]}


def test_ratios_are_of_rounds_and_not_of_medians() -> None:
    """A slow minute slows both: 8 s against 4 s is the same ratio as 2 s against 1 s."""
    assert ratios([2.0, 8.0, 3.0], [1.0, 4.0, 1.0]) == Spread(2.0, 2.0, 3.0)
    assert rates(10, [1.0, 2.0, 5.0]) == Spread(2.0, 5.0, 10.0)


def test_work_is_timed_by_the_clock_around_it() -> None:
    ticks, done = iter([10.0, 12.5]), []
    assert timed(lambda: done.append(1), lambda: next(ticks))() == 2.5
    assert done == [1]


def test_a_spread_reads_minimum_median_maximum() -> None:
    assert Spread.of([3.0, 1.0, 1234.5]).cell(1) == "1.0 / **3.0** / 1,234.5"
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_operations_by_hand() -> None:
    """One layer of dimension 2, 3 wide, texts of 1 and 2 tokens; each token meets 4 x 2 x 2 and 2 x 2 x 3 weights."""
    shape = Shape(n_layers=1, dim=2, wide=3)
    weights = 4 * 4 + 2 * 6  # 28 numbers
    assert shape.layer_flop(3) == 2 * weights * 3 == 168
    # queries by keys, and weights by values: of each text length x length x dim, twice, times two operations
    attention = 2 * 2 * (1 * 1 * 2) + 2 * 2 * (2 * 2 * 2)
    assert shape.flop([1, 2]) == 168 + attention == 208
    assert Shape(6, 2, 3).flop([1, 2]) == 6 * 208


def test_the_default_encoder_needs_what_the_design_says() -> None:
    """all-MiniLM-L6-v2 at 97 tokens: 6 x 97 x 2 x (4 x 384² + 2 x 384 x 1536) and attention, 2.15 GFLOP."""
    assert Shape(6, 384, 1536).flop([97]) == pytest.approx(2.15e9, rel=0.005)


def test_a_table_has_numbers_to_the_right_and_no_ragged_row() -> None:
    assert table(["system", "s"], [["a", "1"]]) == "| system | s |\n| --- | ---: |\n| a | 1 |"
    with pytest.raises(ValueError, match="row .* has 1 cells, expected 2"):
        table(["system", "s"], [["a"]])


def test_a_section_is_read_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its Markdown, its targets, and what was left out; the latter is said at once, in one line."""
    section = Section("Encode", "python bench/encode.py", "2026-01-02")
    section.add("some words")
    section.leave_out("fastembed is not here")
    section.targets.append(Target("encode", ">= 2", "1 / **2** / 3", is_met=True))
    section.write(tmp_path / "kept" / "encode.json")
    assert Section.read(tmp_path / "kept" / "encode.json") == section
    page = section.markdown()
    assert page.startswith("## Encode\n\n`python bench/encode.py`, 2026-01-02\n\nsome words\n\nLeft out: fastembed")
    assert section.targets[0].cells() == ["encode", ">= 2", "yes", "1 / **2** / 3", ""]
    assert capsys.readouterr().err == "attune bench: left out: fastembed is not here\n"


def script(folder: Path, body: str) -> Path:
    """A worker."""
    file = folder / "worker.py"
    path = Path(__file__).resolve().parent.parent / "bench"
    file.write_text(f"import sys\nsys.path.insert(0, {str(path)!r})\nfrom workers import obey\n{body}\n")
    return file


def test_a_worker_times_itself_whatever_it_prints(tmp_path: Path) -> None:
    """Each request is answered with seconds, memory and facts, and prints do not disturb the line."""
    body = "def work(n):\n    print('noise')\n    return {'twice': 2 * n}\nobey(lambda: work)"
    with Worker("double", script(tmp_path, body), python=sys.executable) as worker:
        assert worker.ready() >= 0
        assert 0 <= worker.ask(n=21) < 60
        assert worker.facts == {"twice": 42} and worker.peak_bytes > 1_000_000


def test_a_worker_that_fails_is_missed_and_not_waited_for(tmp_path: Path) -> None:
    with Worker("broken", script(tmp_path, "raise SystemExit(3)")) as worker:
        with pytest.raises(Gone, match="broken ended with exit code 3, see above"):
            worker.ready()
        with pytest.raises(Gone):
            worker.ask()
