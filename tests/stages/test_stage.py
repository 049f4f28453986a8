"""Promises of stage.py to every stage: typed params, outputs whole or absent, errors in one line."""

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_lines import Finished, run_here
from pydantic import Field
from safetensors.numpy import save_file

from attune.errors import BadInput
from attune.stage import (
    AfterCommit,
    Machine,
    Out,
    Params,
    Receipt,
    Stage,
    all_params,
    call,
    load_params,
    named,
    run,
    write_json,
)
from attune.tables import DOCUMENT_IDS, write


class BrewParams(Params):
    """A stage of the tests' own."""

    cups: int = Field(ge=1, le=12)
    strength: float = Field(gt=0)


def brew(params: BrewParams, beans: Path, out: Out) -> Receipt:
    """Writes a folder, then fails when the beans say so."""
    out.mkdir()
    (out / "coffee.txt").write_text(beans.read_text() * params.cups)
    if beans.read_text() == "stones":
        raise BadInput("beans.txt: stones, expected coffee")
    return {"n_cups": params.cups, "strength": params.strength}


def brew_parquet(params: BrewParams, beans: Path, out: Out) -> Receipt:
    """Writes a table with a row per bean, too unlike each other to be compressed much."""
    ids = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(len(beans.read_text()))]
    write(pl.DataFrame({"document_id": ids}), out / "beans.parquet", DOCUMENT_IDS)
    return {"n_cups": params.cups}


def brew_weights(params: BrewParams, beans: Path, out: Out) -> Receipt:
    """Writes weights, four bytes per bean and cup."""
    out.mkdir()
    save_file({"beans": np.zeros(len(beans.read_text()) * params.cups, np.float32)}, out / "model.safetensors")
    return {"n_cups": params.cups}


# a stage's name is its section of params.yaml; these share one
brew_parquet.__name__ = brew_weights.__name__ = "brew"


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("brew: {cups: 3}", "brew.strength is missing"),
        ("brew: {cups: 3, strength: 1, sugar: 2}", "brew.sugar is not a parameter of this stage"),
        ("brew: {cups: 99, strength: 1}", "brew.cups: got 99"),
        ("brew: {cups: three, strength: 1}", "brew.cups: got 'three'"),
        ("tea: {}", "section 'brew' is missing"),
        ("", "section 'brew' is missing"),
        ("brew: [", "not valid YAML"),
        ("brew: {cups: 1, cups: 2}", "not valid YAML"),
        ("brew: {cups: \x01}", "not valid YAML in UTF-8: unacceptable character #x0001"),
        ("brew: {cups: 2024-99-99}", "not valid YAML in UTF-8: month must be in 1..12"),
        ("# caf\xe9\nbrew: {cups: 1}", "not valid YAML in UTF-8: 'utf-8' codec can't decode byte 0xe9"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_place(params_file: Path, text: str, said: str) -> None:
    """Unknown, missing, out-of-range and malformed parameters each get one line that says which."""
    params_file.write_text(text, encoding="latin-1")
    with pytest.raises(BadInput) as caught:
        load_params(BrewParams, "brew", params_file)
    assert said in str(caught.value)
    assert "params.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


class RoastParams(Params):
    """A stage of the tests' own that computes."""

    minutes: int = Field(ge=1)
    beans: dict[str, int]
    machine: Machine


PANEL = "roast: {minutes: 3}\nmachine: {threads: 2, precision: auto}\n"
ADVANCED = "roast: {beans: {a: 1}}\nmachine: {batch_tokens: 4096}\nother: {x: 1}\n"


def write_both(folder: Path, panel: str, advanced: str) -> Path:
    (folder / "advanced.yaml").write_text(advanced)
    (folder / "params.yaml").write_text(panel)
    return folder / "params.yaml"


def test_a_section_may_stand_in_both_files(tmp_path: Path) -> None:
    """The panel and advanced.yaml make one record, and a record with `machine` gets that section, too."""
    file = write_both(tmp_path, PANEL, ADVANCED)
    machine = Machine(threads=2, precision="auto", batch_tokens=4096)
    assert load_params(RoastParams, "roast", file) == RoastParams(minutes=3, beans={"a": 1}, machine=machine)
    assert all_params(file) == {
        "roast": {"minutes": 3, "beans": {"a": 1}},
        "machine": {"threads": 2, "precision": "auto", "batch_tokens": 4096},
        "other": {"x": 1},
    }


@pytest.mark.parametrize(
    ("panel", "advanced", "message"),
    [
        (
            PANEL,
            ADVANCED.replace("beans:", "minutes: 4, beans:"),
            "advanced.yaml: roast.minutes also stands in params.yaml",
        ),
        (PANEL, ADVANCED.replace("4096", "1"), "advanced.yaml: machine.batch_tokens: got 1; "),
        (PANEL.replace("2", "0"), ADVANCED, "params.yaml: machine.threads: got 0; "),
        (PANEL, ADVANCED.replace("{a: 1}", "{a: x}"), "advanced.yaml: roast.beans.a: got 'x'; "),
        (PANEL, ADVANCED.replace("beans", "bean"), "advanced.yaml: roast.bean is not a parameter of this stage"),
        (PANEL.replace("minutes: 3", ""), ADVANCED, "params.yaml or "),
        (PANEL.replace("{minutes: 3}", "3"), ADVANCED, "params.yaml: section 'roast' is 3, expected keys with values"),
        (PANEL, "roast: [", "advanced.yaml:2: not valid YAML"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, panel: str, advanced: str, message: str) -> None:
    """A wrong key or value is told with the file it stands in, a key in both files is refused."""
    with pytest.raises(BadInput) as caught:
        load_params(RoastParams, "roast", write_both(tmp_path, panel, advanced))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_messages_name_the_file_of_a_parameter(tmp_path: Path) -> None:
    """A key that code refuses is told with the file in which a user finds it."""
    file = write_both(tmp_path, PANEL, ADVANCED)
    assert named("roast.minutes", file) == f"{file}: roast.minutes"
    assert named("roast.beans", file) == f"{tmp_path / 'advanced.yaml'}: roast.beans"
    assert named("roast.minutes", tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'}: roast.minutes"


@pytest.mark.parametrize("written", ["2e-5", "2.0e-5", "0.00002", "1e-05"])
def test_floats_in_any_notation_are_numbers(params_file: Path, written: str) -> None:
    """`dvc exp run -S` writes 1e-05, which YAML 1.1 reads as a string."""
    params_file.write_text(f"brew: {{cups: 1, strength: {written}}}")
    assert load_params(BrewParams, "brew", params_file).strength == float(written)


def test_outputs_appear_together_with_the_receipt(tmp_path: Path) -> None:
    """After a stage there are its outputs and its receipt, and no partial name is left."""
    (tmp_path / "beans.txt").write_text("x")
    call(
        brew,
        BrewParams(cups=2, strength=0.1234567),
        tmp_path / "m" / "brew.json",
        beans=tmp_path / "beans.txt",
        out=tmp_path / "out",
    )
    assert (tmp_path / "out" / "coffee.txt").read_text() == "xx"
    assert json.loads((tmp_path / "m" / "brew.json").read_text()) == {"n_cups": 2, "strength": 0.123457}
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("fails", [False, True])
def test_actions_after_the_commit(tmp_path: Path, fails: bool) -> None:
    """They find the outputs in place, and do not happen where the stage fails."""
    seen = []

    def tidy(params: BrewParams, out: Out, after: AfterCommit) -> Receipt:
        out.write_text("coffee")
        after.append(lambda: seen.append((tmp_path / "cup").is_file()))
        if fails:
            raise BadInput("the kettle broke")
        return {}

    with pytest.raises(BadInput) if fails else nullcontext():
        call(tidy, BrewParams(cups=1, strength=1), None, out=tmp_path / "cup")
    assert seen == ([] if fails else [True])


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither a half-written output nor a receipt remains, and earlier outputs are not touched."""
    (tmp_path / "beans.txt").write_text("stones")
    with pytest.raises(BadInput):
        call(
            brew,
            BrewParams(cups=2, strength=1),
            tmp_path / "brew.json",
            beans=tmp_path / "beans.txt",
            out=tmp_path / "out",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["beans.txt"]


def test_json_is_written_the_same_way_every_time(tmp_path: Path) -> None:
    """Keys keep their order, floats have six decimals, NaN and infinity are refused."""
    write_json(tmp_path / "a.json", {"b": 1 / 3, "a": [1, {"c": 2.0}]})
    assert (
        tmp_path / "a.json"
    ).read_text() == '{\n  "b": 0.333333,\n  "a": [\n    1,\n    {\n      "c": 2.0\n    }\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", {"b": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", {"b": float("-inf")})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (4.17233e-7, "4.17e-07"),
        (-4.17233e-7, "-4.17e-07"),
        (0.0000123456, "1.23e-05"),
        (0.00009999999, "0.0001"),
        (0.0001, "0.0001"),
        (0.000123456, "0.000123"),
        (1e-12, "1e-12"),
        (-1.4e-17, "0.0"),
        (-0.0, "0.0"),
        (np.float32(0.1), "0.1"),
        (np.float64(4.17233e-7), "4.17e-07"),
        (np.int64(7), "7"),
        (True, "true"),
    ],
)
def test_a_small_float_does_not_read_as_none(tmp_path: Path, value: object, written: str) -> None:
    """Below 0.0001 three significant digits are kept; noise of the arithmetic and -0.0 are 0; numpy's are the same."""
    write_json(tmp_path / "a.json", [value])
    assert (tmp_path / "a.json").read_text() == f"[\n  {written}\n]\n"


COMMAND = ("--beans", "beans.txt", "--out", "out", "--receipt", "brew.json")


def run_program(folder: Path, *arguments: str, stage: Stage = brew) -> Finished:
    return run_here(lambda: run(stage), folder, *arguments)


@contextmanager
def full_disk(largest_file: int) -> Iterator[None]:
    """Limits the size of files, which stands in for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_the_command_line_an_error_is_one_line_and_a_non_zero_exit(tmp_path: Path) -> None:
    """The user sees `attune <stage>: what and where`, never a traceback."""
    (tmp_path / "params.yaml").write_text("brew: {cups: 2, strength: 1}")
    (tmp_path / "beans.txt").write_text("stones")
    done = run_program(tmp_path, *COMMAND)
    assert (done.returncode, done.stderr) == (1, "attune brew: beans.txt: stones, expected coffee\n")
    missing = run_program(tmp_path, "--beans", "nowhere.txt", "--out", "out", "--receipt", "brew.json")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "nowhere.txt" in missing.stderr


def test_a_params_file_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    """As an editor of long ago may save it."""
    (tmp_path / "params.yaml").write_bytes("# café\nbrew: {cups: 2, strength: 1}".encode("latin-1"))
    (tmp_path / "beans.txt").write_text("x")
    done = run_program(tmp_path, *COMMAND)
    assert done.returncode == 1
    assert done.stderr.startswith("attune brew: params.yaml: not valid YAML in UTF-8") and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beans.txt", "params.yaml"]


@pytest.mark.parametrize("stage", [brew, brew_parquet, brew_weights], ids=["text", "parquet", "weights"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, stage: Stage) -> None:
    """Writing beyond the room there is (a file-size limit stands in for it) is reported, and cleaned up after."""
    (tmp_path / "params.yaml").write_text("brew: {cups: 12, strength: 1}")
    (tmp_path / "beans.txt").write_text("x" * 200_000)
    with full_disk(1_000_000):
        done = run_program(tmp_path, *COMMAND, stage=stage)
    assert done.returncode == 1
    assert done.stderr.startswith("attune brew: out") and done.stderr.count("\n") == 1
    assert "File too large" in done.stderr and "; make room on its disk and run again" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beans.txt", "params.yaml"]
