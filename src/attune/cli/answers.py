"""Answers of commands: records, from which the text for people and the JSON for programs are made.

A command is a function in the `interface.py` of its room: typer's annotations say what it takes, its return annotation
which `Answer` it gives. `add` puts it on the command line with an option --json. What an answer's keys mean is written
once, in its docstring, which is also the schema that `attune schema` prints.

Exit codes: 0 where the command did its work, or judged well; 1 where a rule fails (gate, same), or the command cannot
do its work with what it was given; 2 for wrong arguments, for a verdict that cannot be reached, and for a fault of the
program. Under --json an error is one line of JSON, the last on stderr.
"""

import inspect
import json
import re
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, get_args, get_origin, get_type_hints

import typer
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from rich.console import Console

from attune.errors import one_line
from attune.stage import EXPECTED, fail, lines, run_command_line

if TYPE_CHECKING:
    from pydantic_core.core_schema import DataclassSchema
    from rich.console import RenderableType

JSON = "--json"
CANNOT, FAULT = 1, 2  # exit codes
STEP = "run it again without --json, and report the traceback"
ATTRIBUTES = re.compile(r"^    (\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", re.MULTILINE)  # as docstrings here list them


class Answer(ABC):
    """Answer of a command: a frozen dataclass whose fields are the keys of its JSON."""

    fault_code: ClassVar[int] = CANNOT  # exit code where the command cannot do its work

    @property
    def exit_code(self) -> int:
        """Exit code of the command that gives this answer."""
        return 0

    @abstractmethod
    def shown(self) -> Iterable["RenderableType"]:
        """Returns the text for people: lines, and tables of rich."""


class Verdict(Answer):
    """An answer whose exit code 1 is a verdict, so that a command that cannot tell ends with 2."""

    fault_code = FAULT


Status = Literal["passed", "failed", "undecided", "not applicable", "ignored"]  # of `evaluation.statistics.decision`
Fault = Literal["bad_input", "wrong_arguments", "fault"]
Command = Callable[..., Answer | Iterator[Answer]]


@dataclass(frozen=True)
class CheckResult:
    """Result of a check.

    Attributes:
        code: of the check, such as ATT007; docs/gate.md has a paragraph on each.
        title: of the check.
        status: what it found.
        is_blocking: true where it stops a merge.
        sentence: why, with figures and what to do.
    """

    code: str
    title: str
    status: Status
    is_blocking: bool
    sentence: str


@dataclass(frozen=True)
class Failure:
    """An error of any command under --json, the last line of stderr.

    Attributes:
        code: bad_input can be mended by what next_step says; wrong_arguments are those of the command line; a fault is
            one of attune.
        exit_code: of the command.
        message: what and where, got and expected; the first of the problems.
        next_step: what to do about it, the end of the message; "" where it names nothing.
        problems: every message; of a data set's problems the first 20, one each, then a line with their number.
    """

    code: Fault
    exit_code: int
    message: str
    next_step: str
    problems: list[str]


def fail_in_json(code: Fault, problems: list[str], exit_code: int) -> NoReturn:
    """Prints an error as one line of JSON and exits; by the house's rule the next step follows the last semicolon."""
    step = STEP if code == "fault" else problems[0].rpartition("; ")[2] * ("; " in problems[0])
    typer.echo(json.dumps(asdict(Failure(code, exit_code, problems[0], step, problems))), err=True)
    raise SystemExit(exit_code)


def add(app: typer.Typer, command: Command) -> None:
    """Puts a command on the command line, under its function's name and with an option --json."""
    parameters = list(inspect.signature(command).parameters.values())
    annotation = Annotated[bool, typer.Option(JSON, help="print JSON: attune schema has its keys")]
    option = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=False)
    kind = answer_of(command)
    fault_code = next(iter(get_args(kind)), kind).fault_code

    def said(as_json: bool, **arguments: Any) -> None:  # noqa: ANN401
        code = 0
        with failing(command.__name__, fault_code, as_json):
            answers = command(**arguments)
            for answer in answers if isinstance(answers, Iterator) else [answers]:
                code = max(code, answer.exit_code)
                say(answer, as_json)
        if code:
            raise SystemExit(code)

    said.__signature__ = inspect.Signature([*parameters, option])  # type: ignore[attr-defined]
    said.__annotations__ = {each.name: each.annotation for each in (*parameters, option)}
    app.command(command.__name__, help=inspect.getdoc(command))(said)


def say(answer: Answer, as_json: bool) -> None:
    """Prints an answer."""
    if as_json:
        content = json.loads(TypeAdapter(type(answer)).dump_json(answer))
        typer.echo(json.dumps(content, indent=2))  # in ASCII: texts from data could command a terminal
        return
    for part in answer.shown():
        if isinstance(part, str):
            typer.echo(part)
        else:
            Console().print(part)


@contextmanager
def failing(command: str, fault_code: int, as_json: bool) -> Iterator[None]:
    """Ends a command that fails: by a line, a traceback if the fault is attune's, or JSON."""
    try:
        yield
    except Exception as error:
        is_expected = isinstance(error, EXPECTED)
        if as_json and is_expected:
            fail_in_json("bad_input", lines(error), fault_code)
        if as_json:
            fail_in_json("fault", [one_line(f"{type(error).__name__}: {error}")], FAULT)
        if is_expected and fault_code == CANNOT:
            raise  # `run_command_line` prints it
        if is_expected:
            fail(command, error, fault_code)
        traceback.print_exc()
        raise SystemExit(FAULT) from None


def run(app: typer.Typer) -> NoReturn:
    """Runs the command line; wrong arguments are one line, too, in JSON where that was asked for."""
    if JSON not in sys.argv[1:]:
        run_command_line(app)
    try:
        raise SystemExit(app(standalone_mode=False) or 0)
    except typer.TyperException as error:
        problem = one_line(f"{error.format_message().rstrip('.')}; see --help")
        fail_in_json("wrong_arguments", [problem], error.exit_code)


def answer_of(command: Command) -> Any:  # noqa: ANN401 - a union is no type
    """Returns what a command gives by its return annotation: an answer, or a union of several."""
    said = get_type_hints(command)["return"]
    return get_args(said)[0] if get_origin(said) is Iterator else said


def schema_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a union is no type
    """Returns the JSON Schema (draft 2020-12) of a record or a union of records, with the texts of their docstrings."""
    return TypeAdapter(kind).json_schema(mode="serialization", schema_generator=_WithDocstrings)


class _WithDocstrings(GenerateJsonSchema):
    """Adds what a dataclass's docstring says of itself and of its attributes, and allows no other keys."""

    def dataclass_schema(self, schema: "DataclassSchema") -> dict[str, Any]:
        made = super().dataclass_schema(schema)
        about, _, attributes = inspect.cleandoc(schema["cls"].__doc__ or "").partition("\n\nAttributes:\n")
        texts = {name: text for names, text in ATTRIBUTES.findall(attributes) for name in names.split(", ")}
        for name, own in made["properties"].items():
            own["description"] = " ".join(texts[name].split())
        return made | {"description": " ".join(about.split()), "additionalProperties": False}
