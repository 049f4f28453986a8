"""`--json`: every command's schema, answers that follow it, and errors as one object with the next step."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import typer
from command_lines import Finished, run_here
from pydantic import TypeAdapter

from attune.cli import answers as module
from attune.cli import main as cli
from attune.cli.answers import Answer, Failure, Status, Verdict, add, answer_of, run, schema_of
from attune.errors import BadInput
from attune.evaluation.statistics.decision import Status as DecisionStatus

NAMES = [command.__name__ for command in cli.COMMANDS]


@dataclass(frozen=True)
class Sum(Verdict):
    """A sum, small or not.

    Attributes:
        parts: that were added,
            in their order.
        low, high: ends of its interval; null where
            it has none.
        total: of all parts.
    """

    parts: list[int]
    low: float | None
    high: float | None
    total: int

    @property
    def exit_code(self) -> int:
        """1 above 10."""
        return int(self.total > 10)

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield f"{self.total} in all"


def total(parts: Annotated[list[int], typer.Argument()], dear: bool = False) -> Sum:
    """Adds."""
    if 0 in parts:
        raise BadInput(f"row 2: got 0; expected more; leave \x1b[31m{parts.index(0)} out", "row 3: got nothing")
    return Sum(parts, None, None, sum(parts) // (not dear))


def program(*commands: Any) -> Any:
    """Returns the function that a command line of these commands starts."""
    app = typer.Typer()
    app.callback()(lambda: None)
    for command in commands:
        add(app, command)
    return lambda: run(app)


def add_up(folder: Path, *arguments: str) -> Finished:
    return run_here(program(total), folder, "total", *arguments)


def test_one_record_makes_text_and_json(tmp_path: Path) -> None:
    """Keys are the record's fields; the exit code is the verdict's in both."""
    assert add_up(tmp_path, "1", "2") == (0, "3 in all\n", "")
    done = add_up(tmp_path, "7", "8", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {"parts": [7, 8], "low": None, "high": None, "total": 15}


def test_a_schema_says_what_the_docstring_says() -> None:
    """Types from the fields, texts from the docstring, lines joined; no key is optional, and there are no others."""
    made = schema_of(Sum)
    assert made["description"] == "A sum, small or not."
    texts = {key: own["description"] for key, own in made["properties"].items()}
    interval = dict.fromkeys(("low", "high"), "ends of its interval; null where it has none.")
    assert texts == {"parts": "that were added, in their order.", **interval, "total": "of all parts."}
    assert set(made["required"]) == set(texts) and made["additionalProperties"] is False
    assert made["properties"]["parts"]["items"] == {"type": "integer"}


def test_an_attribute_without_a_text_has_no_schema() -> None:
    """A forgotten line is found by the test of all commands below."""

    @dataclass(frozen=True)
    class Silent(Answer):
        """Nothing."""

        key: int

    with pytest.raises(KeyError, match="key"):
        schema_of(Silent)


@pytest.mark.parametrize("name", [*NAMES, cli.ERROR])
def test_every_command_has_a_schema(tmp_path: Path, name: str) -> None:
    """`attune schema` prints it; every record and key in it has a text; --json wraps it."""
    printed = json.loads(run_here(cli.main, tmp_path, "schema", name).stdout)
    records = [printed] if "properties" in printed else []
    records += printed.get("$defs", {}).values()
    assert records and all(record["description"] for record in records)
    assert all(own["description"] for record in records for own in record["properties"].values())
    wrapped = json.loads(run_here(cli.main, tmp_path, "schema", name, "--json").stdout)
    assert wrapped == {"command": name, "json_schema": printed}


def test_the_statuses_are_those_that_checks_have() -> None:
    """The schema repeats them, as the enumeration would load libraries that the help does not need."""
    assert set(get_args(Status)) == set(DecisionStatus)


def test_every_command_takes_json() -> None:
    """The option stands in each one's help, and none is on the command line that has no answer."""
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == sorted(NAMES)
    for command in commands.values():
        assert ["--json"] in [parameter.opts for parameter in command.params]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code", "message", "step", "n"),
    [
        (("1", "0"), "bad_input", 2, "row 2: got 0; expected more; leave \\x1b[31m1 out", "leave \\x1b[31m1 out", 2),
        (
            ("x",),
            "wrong_arguments",
            2,
            "Invalid value for 'parts': Inp",
            "see --help",
            1,
        ),
        (("1", "--dear"), "fault", 2, "ZeroDivisionError: integer division or modulo by zero", module.STEP, 1),
    ],
)
def test_an_error_is_one_object_on_stderr(
    tmp_path: Path, arguments: tuple[str, ...], code: str, exit_code: int, message: str, step: str, n: int
) -> None:
    """Code, exit code, message, next step and all problems in one line that commands no terminal; stdout is empty."""
    done = add_up(tmp_path, *arguments, "--json")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (exit_code, "", 1)
    failure = TypeAdapter(Failure).validate_json(done.stderr)
    assert failure.message.startswith(message[:30]) and (failure.code, failure.exit_code) == (code, exit_code)
    assert failure.next_step == step and len(failure.problems) == n and failure.message == failure.problems[0]
    assert add_up(tmp_path, *arguments).stderr.count("\x1b") == 0


def test_a_message_without_a_next_step_names_none(tmp_path: Path) -> None:
    """Text before the last semicolon is never taken for a step; a command that is no verdict ends with 1."""

    @dataclass(frozen=True)
    class Nothing(Answer):
        """Nothing."""

    def refuse() -> Nothing:
        """Refuses."""
        raise BadInput("file.csv: unreadable")

    done = run_here(program(refuse), tmp_path, "refuse", "--json")
    failure = json.loads(done.stderr)
    assert (done.returncode, failure["exit_code"], failure["next_step"]) == (1, 1, "")
    assert run_here(program(refuse), tmp_path, "refuse") == (1, "", "attune: file.csv: unreadable\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "step"),
    [
        (("results",), 1, "run `make repro` first"),
        (("verify",), 1, "give the folder of an exported encoder, such as models/onnx"),
        (("gate",), 2, "run from the project's root"),
        (("schema", "serve"), 1, "name one of them"),
        (("serve",), 2, "see --help"),
    ],
)
def test_real_commands_name_the_next_step(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int, step: str
) -> None:
    """In an empty folder; the same line that people read."""
    done = run_here(cli.main, tmp_path, *arguments, "--json")
    failure = json.loads(done.stderr)
    assert done.returncode == failure["exit_code"] == exit_code
    assert failure["next_step"].startswith(step) and failure["message"].endswith(failure["next_step"])


def test_a_server_says_its_address_and_runs_on(tmp_path: Path) -> None:
    """A command may print an answer before it ends; the exit code is the worst of its answers'."""
    events: list[str] = []

    def serve() -> Iterator[Sum]:
        """Serves."""
        yield Sum([20], None, None, 20)
        events.append("ran on")

    done = run_here(program(serve), tmp_path, "serve", "--json")
    assert json.loads(done.stdout)["total"] == 20 and events == ["ran on"] and done.returncode == 1
    assert answer_of(serve) is Sum


def test_results_and_verify_answer_in_json(tiny_onnx: Path, tmp_path: Path) -> None:
    """The verdict as a word, what to ship, scores by system, differences on the queries that the verdict counts."""
    names = ("recall@10", "mrr@10", "ndcg@10")
    paired = {"delta": 0.125, "ci_low": 0.1, "ci_high": 0.15, "p_value": 0.0002, "p_holm": 0.0036}
    report: dict[str, Any] = {
        "verdict": "Better: so it is.",
        "n_comparisons": 18,
        "n_test_queries": 1234,
        "systems": {"base": dict.fromkeys(names, 0.5), "tuned": dict.fromkeys(names, 0.625)},
        "paired": dict.fromkeys(names, paired),
        "without_leaks": {
            "lexical": {"n_queries": 1234},
            "any": {"n_queries": 1000, "delta": 0.1, "ci_low": -0.01, "ci_high": 0.2},
        },
    }
    choices = {"named": "tuned_int8", "without_reindex": "adapter"}
    (tmp_path / "metrics").mkdir()
    for name, content in (("report", report), ("choices", choices), ("tuned", {"n_queries": 1234})):
        (tmp_path / "metrics" / f"{name}.json").write_text(json.dumps(content))
    found = json.loads(run_here(cli.main, tmp_path, "results", "--json").stdout)
    assert (found["verdict"], found["ship"], found["ship_without_reindex"]) == ("Better", "tuned_int8", "adapter")
    assert found["systems"]["tuned"]["mrr@10"] == 0.625 and found["difference"]["recall@10"]["ci_low"] == 0.1
    assert "| tuned minus base | **+0.125**" in found["markdown"]
    leaking = {
        "paired_without_leaks": dict.fromkeys(names, paired | {"delta": -0.25}),
        "without_leaks": report["without_leaks"] | {"lexical": {"n_queries": 1200}},
    }
    (tmp_path / "metrics/report.json").write_text(json.dumps(report | leaking))
    counted = json.loads(run_here(cli.main, tmp_path, "results", "--json").stdout)
    assert "| tuned minus base, without 34 leaking queries | **-0.250**" in counted["markdown"]
    assert counted["difference"]["recall@10"]["delta"] == -0.25
    (tmp_path / "metrics/report.json").write_text(json.dumps(report))
    assert found["markdown"].rstrip("\n") == run_here(cli.main, tmp_path, "results").stdout.rstrip("\n")
    verified = json.loads(run_here(cli.main, tmp_path, "verify", str(tiny_onnx), "--json").stdout)
    assert verified["folder"] == str(tiny_onnx) and "onnx/model.onnx" in verified["files"]
