"""The picture of a run: number, words, estimate and a line a minute; exit codes and signals as DVC's own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from attune.cli import repro
from attune.cli.repro import Picture, descriptions, in_words, run, seconds_file

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """
stages:
  first: {desc: writes one, cmd: "echo 1 > one", outs: [one]}
  each:
    foreach: ${two}
    do: {desc: copies it, cmd: "cat one > ${key}", deps: [one], outs: ["${key}"]}
  last: {desc: fails, cmd: "exit 7", deps: [a, b]}
vars: [advanced.yaml]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline of four stages, the last of which fails."""
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "advanced.yaml").write_text("two: {a: 1, b: 2}\n")
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list whose sum is the time."""
    passed = [1000.0]
    monkeypatch.setattr(repro.time, "monotonic", lambda: sum(passed))
    return passed


def started(name: str) -> str:
    return f"Running stage '{name}':\n> PYTHONHASHSEED=0 PYTHONPATH=src python -m attune.stages.{name} --out x\n"


def test_a_log_has_a_line_for_a_stage_and_one_a_minute(
    folder: Path, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bars, DVC's lines about stages and colours go; messages stay; a minute's line says what the bar last said."""
    picture = Picture(folder, is_terminal=False)
    picture.feed("Stage 'first' didn't change, skipping\n" + started("each@a"))
    picture.feed("\rtrain:   0%|   | 0/480 [00:00<?, ?step/s]\rtrain:  35%|█▌ | 168/480 [06:20<11:46,  2.26s/step]")
    for seconds in (59.0, 2.0, 58.0, 1.0, 1.0):  # lines at 61 and at 121
        clock.append(seconds)
        picture.tick()
    picture.feed("\rtrain: 100%|██| 480/480 [18:06<00:00,  2.26s/step]\n\x1b[31mERROR\x1b[39m: told\n")
    picture.feed("!\n  0%|      |memory://.x.tmp     0.00/145 [00:00<?,      ?B/s]\n")
    picture.feed("corpus.jsonl: 300 rows [00:00, 28730.08 rows/s]\n")
    picture.feed("  0% Committing data/raw to cache|      |0/8 [00:00<?,     ?file/s]\nUpdating lock file")
    picture.feed(" 'dvc.lock'\n\nStage 'each@b' is cached - skipping run, checking out outputs\n")
    picture.end(0)
    assert capsys.readouterr().out.splitlines() == [
        "[2 of 4] each@a: copies it",
        "  each@a: 61 s; train: 168/480 (35%), 11:46 left,  2.26s/step",
        "  each@a: 2 min; train: 168/480 (35%), 11:46 left,  2.26s/step",
        "ERROR: told",
        "[3 of 4] each@b: its outputs are in DVC's cache",
        "attune: 1 of 4 stages ran, in 2 min",
    ]


def test_what_is_left_is_what_the_stages_ahead_took_last_time(
    folder: Path, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """400 + 30 + 5 s before each@a, whose 400 s are then 100; a stage that has been skipped adds nothing."""
    seconds_file(folder).write_text(json.dumps({"first": 900, "each@a": 400, "each@b": 30, "last": 5}))
    picture = Picture(folder, is_terminal=False)
    picture.feed("Stage 'first' didn't change, skipping\n" + started("each@a"))
    clock.append(100)
    picture.tick()
    picture.feed(started("each@b"))
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("(7 min last time; at most 7 min left)")
    assert out[1] == "  each@a: 2 min (7 min last time; at most 7 min left)"
    assert out[2].endswith("(30 s last time; at most 35 s left)")
    seconds = {"first": 900, "each@a": 100, "each@b": 30, "last": 5}
    assert json.loads(seconds_file(folder).read_text()) == seconds
    picture.end(1)  # a stage that fails has no time
    assert json.loads(seconds_file(folder).read_text()) == seconds


def test_projects_of_one_repository_keep_their_own_seconds(
    folder: Path, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC's root and projects below it, however alike their paths; each reads its own, with links resolved."""
    places = (".", "shop", "shop/help", "shop_help", "a/shop")
    for seconds, place in enumerate(places, 10):
        project = folder / place
        project.mkdir(parents=True, exist_ok=True)
        for name in ("dvc.yaml", "advanced.yaml"):
            (project / name).write_text((folder / name).read_text())
        picture = Picture(project, is_terminal=False)
        picture.feed(started("last"))
        clock.append(seconds)
        picture.end(0)
    assert len({seconds_file(folder / place) for place in places}) == len(places)
    (folder / "link").symlink_to(folder / "shop")
    capsys.readouterr()
    for seconds, place in [*enumerate(places, 10), (11, "link")]:
        Picture(folder / place, is_terminal=False).feed(started("last"))
        assert f"fails ({seconds} s last time;" in capsys.readouterr().out
        assert list(folder.joinpath(place).glob("*.json")) == []
    assert sorted(path.name for path in (folder / "shop").iterdir()) == ["advanced.yaml", "dvc.yaml", "help"]


def test_a_project_in_a_sub_folder_of_dvc_s_root_keeps_its_seconds(folder: Path) -> None:
    """DVC's own .dvc/tmp lies above the project, where the next run and `attune times` read them."""
    project = folder / "shop"
    project.mkdir()
    for name in ("dvc.yaml", "advanced.yaml"):
        (folder / name).rename(project / name)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "attune.cli.repro", "first"]
    subprocess.run(command, cwd=project, env=environment, capture_output=True, check=True)
    assert json.loads((folder / ".dvc/tmp/attune_seconds/shop.json").read_text()).keys() == {"first"}
    assert Picture(project, is_terminal=False).seconds.keys() == {"first"}


def test_a_terminal_gets_bars_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every byte of a bar passes at once; only DVC's lines about stages are replaced."""
    picture = Picture(folder, is_terminal=True)
    picture.feed(started("first"))
    capsys.readouterr()
    bar = "\rtrain:  35%|█▌ | 168/480 [06:20<11:46]"
    picture.feed(bar)
    assert capsys.readouterr().out == bar
    picture.feed("\x1b[A\n\x1b[31mtold\x1b[39m\n")
    assert capsys.readouterr().out == "\x1b[A\n\x1b[31mtold\x1b[39m\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (1100, "18 min"), (5460, "1 h 31 min")]
)
def test_times_have_the_units_that_matter(seconds: float, words: str) -> None:
    """Seconds, minutes, hours and minutes."""
    assert in_words(seconds) == words


def test_the_names_are_those_of_dvc() -> None:
    """Every stage of the project's pipeline, foreach in dvc.yaml or advanced.yaml, under the name that DVC prints."""
    described = descriptions(ROOT)
    with Repo(str(ROOT)) as repo:
        assert described.keys() == {stage.addressing.rpartition(":")[2] for stage in repo.index.stages}
    assert all(described.values())


def test_dvc_runs_as_ever(folder: Path) -> None:
    """DVC's real lines are recognised; a failing stage's exit code is DVC's; what succeeded is skipped next time."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "attune.cli.repro"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 255
    assert [line for line in lines if line.startswith("[")] == [
        "[1 of 4] first: writes one",
        "[2 of 4] each@a: copies it",
        "[3 of 4] each@b: copies it",
        "[4 of 4] last: fails",
    ]
    assert any("failed to reproduce 'last'" in line for line in lines) and "lock file" not in done.stdout
    assert json.loads(seconds_file(folder).read_text()).keys() == {"first", "each@a", "each@b"}
    command += ["each@b"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Data and pipelines are up to date.\n")


def program(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_exit_codes_pass_and_no_output_is_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last part of a line and a megabyte of text arrive; stdout and stderr are terminals."""
    source = "import sys; print('ü' * 500_000); assert sys.stderr.isatty(); print('end', end=''); sys.exit(9)"
    assert run(program(source), Picture(folder, is_terminal=False)) == 9
    assert capsys.readouterr().out == "ü" * 500_000 + "\nend\n"
    assert run(program("import os; os.kill(os.getpid(), 9)"), Picture(folder, is_terminal=False)) == 128 + 9


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 5), (signal.SIGTERM, 128 + 15)])
def test_signals_reach_dvc(folder: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C goes to the whole process group, as a terminal sends it; SIGTERM to this program, which passes it on."""
    work = "print('up', flush=True)\n time.sleep(600)"
    source = f"import sys, time\ntry:\n {work}\nexcept KeyboardInterrupt:\n sys.exit(5)"
    wrapper = (
        "import sys; from pathlib import Path; from attune.cli.repro import Picture, run\n"
        f"sys.exit(run([sys.executable, '-c', {source!r}], Picture(Path(), False)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        program(wrapper), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(timeout=300) == code
