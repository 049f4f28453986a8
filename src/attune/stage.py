"""Runs a stage from the command line: typed parameters, outputs all or nothing, errors of one line.

A stage is a function whose first argument is its parameter record and whose other arguments are mostly paths. Arguments
annotated `Out` are written under a temporary name and renamed together at the end, so that a stage that dies leaves
nothing that looks finished. The function returns its receipt: scalars, written to the path given as `--receipt`.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_type_hints

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from safetensors import SafetensorError

from attune.errors import BadInput, one_line
from attune.files import discard, partial, writing

Out = Annotated[Path, "out"]
Receipt = Mapping[str, int | float | str | bool]

PARAMS_FILE, ADVANCED_FILE = Path("params.yaml"), Path("advanced.yaml")
# Errors that end in one line: bad data, and files that cannot be read or written. safetensors raises its own type
# for a full disk while weights are saved and for truncated weights.
EXPECTED = (BadInput, OSError, SafetensorError)


class Params(BaseModel):
    """The parameters of a stage: unknown keys are forbidden, every field is bounded, no field has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(Params):
    """The section `machine`: how every stage that computes uses the hardware.

    Attributes:
        threads: CPU threads of a process.
        precision: number format of matrix products while encoding and training.
        batch_tokens: tokens per encoding batch, padding included.
    """

    threads: int = Field(ge=1, le=1024)
    precision: Literal["auto", "fp32", "bf16"]
    batch_tokens: int = Field(ge=64, le=1_000_000)


ParamsT = TypeVar("ParamsT", bound=Params)


def load_params(record: type[ParamsT], section: str, file: Path = PARAMS_FILE) -> ParamsT:
    """Reads a stage's parameters: its section in params.yaml and the section of that name in advanced.yaml beside it.

    A record with a field `machine` gets the section `machine` there.

    Args:
        record: the type to fill; unknown keys and values out of bounds are refused.
        section: name of the stage.
        file: path of params.yaml; advanced.yaml is looked for in the same folder.

    Raises:
        BadInput: a file is missing or not YAML in UTF-8, the section is missing, a key stands in both files, is unknown
            or missing, or a value is out of bounds.
    """
    files = _read_files(file)
    values, homes = _merged(files, section)
    if "machine" in record.model_fields:
        values["machine"], of_machine = _merged(files, "machine")
        homes |= {f"machine.{key}": path for key, path in of_machine.items()}
    elif not homes:
        raise BadInput(f"{file}: section '{section}' is missing; restore it from the project's history")
    try:
        return record.model_validate(values)
    except ValidationError as error:
        raise BadInput("; ".join(_explain(files, homes, section, e) for e in error.errors())) from None


def all_params(file: Path = PARAMS_FILE) -> dict[str, dict[str, Any]]:
    """Returns every section of params.yaml and advanced.yaml, merged and unchecked, in the order of the two files.

    Raises:
        BadInput: a file is missing or not YAML in UTF-8, or a key stands in both.
    """
    files = _read_files(file)
    names = dict.fromkeys(name for sections in files.values() for name in sections)
    return {name: _merged(files, name)[0] for name in names}


def named(key: str, file: Path = PARAMS_FILE) -> str:
    """Names a parameter with the file that it stands in, for messages: "advanced.yaml: train.general"."""
    section, _, name = key.partition(".")
    homes = _merged(_read_files(file), section)[1] if file.exists() else {}
    return f"{homes.get(name, file)}: {key}"


def _read_files(file: Path) -> dict[Path, Mapping[str, Any]]:
    """Returns the sections of params.yaml and, where it exists, of advanced.yaml beside it."""
    second = file.with_name(ADVANCED_FILE.name)
    return {path: _sections(path) for path in (file, second) if path == file or path.exists()}


def _sections(file: Path) -> Mapping[str, Any]:
    """Returns the sections of a parameter file, read as YAML 1.2, as DVC does (in YAML 1.1 `2e-5` is a string)."""
    try:
        sections = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; run from the project's root") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else "?"
        raise BadInput(f"{file}:{line}: not valid YAML: {error.problem}; correct it there") from None
    except (YAMLError, ValueError) as error:  # a control character, another encoding, a malformed date or number
        raise BadInput(f"{file}: not valid YAML in UTF-8: {one_line(error)}; correct it there") from None
    return sections if isinstance(sections, dict) else {}


def _merged(files: Mapping[Path, Mapping[str, Any]], section: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """Returns the values of a section from all files, and the file that each key stands in."""
    values: dict[str, Any] = {}
    homes: dict[str, Path] = {}
    for path, sections in files.items():
        own = sections.get(section, {})
        if not isinstance(own, dict):
            raise BadInput(f"{path}: section '{section}' is {own!r}, expected keys with values; indent them below it")
        if twice := sorted(values.keys() & own.keys()):
            raise BadInput(f"{path}: {section}.{twice[0]} also stands in {homes[twice[0]].name}; remove one of the two")
        values |= own
        homes |= dict.fromkeys(own, path)
    return values, homes


def _explain(files: Iterable[Path], homes: Mapping[str, Path], section: str, error: Any) -> str:
    place = [str(part) for part in error["loc"]]
    where = ".".join(place if place[:1] == ["machine"] else [section, *place])
    home = homes.get(".".join(place[:2] if place[:1] == ["machine"] else place[:1]))
    if error["type"] == "missing":
        return f"{home or ' or '.join(map(str, files))}: {where} is missing; every parameter must be set"
    home = home or next(iter(files))
    if error["type"] == "extra_forbidden":
        return f"{home}: {where} is not a parameter of this stage; check the spelling or remove it"
    got = f"got {error['input']!r}; " if place else ""
    return f"{home}: {where}: {got}{error['msg'][0].lower()}{error['msg'][1:]}"


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file's bytes in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON the same way every time: keys in the given order, rounded floats, a final newline, UTF-8.

    Floats have six decimals; those nearer to 0 than 0.0001 have three significant digits instead, so that a small one
    does not read as none; below 1e-12 all is rounding noise of the arithmetic, and 0.
    """
    text = json.dumps(_rounded(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if hasattr(value, "item"):  # a scalar of numpy's
        value = value.item()
    if isinstance(value, float):
        # + 0.0 turns -0.0 into 0.0
        return round(value, 6) + 0.0 if not abs(value) < 1e-4 else float(f"{round(value, 12):.2e}") + 0.0
    return value


class AfterCommit(list[Callable[[], None]]):
    """Actions to run once the stage's outputs are in place, such as removing the checkpoints of a finished run.

    A stage that takes an argument of this type gets an empty list to append to.
    """


Stage = Callable[..., Receipt | None]


def _hints(function: Stage) -> dict[str, Any]:
    return get_type_hints(function, include_extras=True)


def _outs(function: Stage, arguments: Mapping[str, Any]) -> list[str]:
    hints = _hints(function)
    return [name for name in arguments if hints[name] == Out]


def unfinished(function: Stage, receipt: Path | None, arguments: Mapping[str, Any]) -> dict[Path, Path]:
    """Maps the temporary name of each output of a stage, receipt included, to its final name."""
    finals = [arguments[name] for name in _outs(function, arguments)] + ([] if receipt is None else [receipt])
    return {partial(final): final for final in finals}


def run_unfinished(function: Stage, params: Params, arguments: Mapping[str, Any]) -> tuple[Receipt | None, AfterCommit]:
    """Runs a stage on its outputs' temporary names; returns its receipt and what is to be done after the commit."""
    outs, after = _outs(function, arguments), AfterCommit()
    values = {name: partial(value) if name in outs else value for name, value in arguments.items()}
    values |= {name: after for name, hint in _hints(function).items() if hint is AfterCommit}
    return function(params, **values), after


def call(function: Stage, params: Params, receipt: Path | None, **arguments: Any) -> None:
    """Runs a stage with its outputs all or nothing: temporary names first, renamed only when everything is written."""
    finals = unfinished(function, receipt, arguments)
    try:
        with writing(*finals):
            for path in finals:
                discard(path)
                path.parent.mkdir(parents=True, exist_ok=True)
            content, after = run_unfinished(function, params, arguments)
            if receipt is not None:
                write_json(partial(receipt), content)
        for path, final in finals.items():
            discard(final)
            path.replace(final)
        for action in after:
            action()
    finally:
        for path in finals:
            discard(path)


def lines(message: object) -> list[str]:
    """Splits a message into the lines to print: one per problem."""
    problems = message.args if isinstance(message, BadInput) else [message]
    return [one_line(problem) for problem in problems]


def fail(name: str, message: object, code: int = 1) -> NoReturn:
    """Prints the message to stderr, one line for each problem, and exits."""
    for line in lines(message):
        print(f"{f'attune {name}'.strip()}: {line}", file=sys.stderr)
    raise SystemExit(code)


def run_command_line(app: typer.Typer, name: str = "") -> NoReturn:
    """Runs a command line; errors are one line per problem on stderr, with exit code 1, or 2 for wrong arguments."""
    try:
        code = app(standalone_mode=False)
    except EXPECTED as error:
        fail(name, error)
    except typer.TyperException as error:  # wrong arguments
        fail(name, f"{error.format_message().rstrip('.')}; see --help", error.exit_code)
    raise SystemExit(code or 0)


def run(function: Stage, call: Callable[..., None] = call) -> None:
    """Runs a stage from the command line, with the section of params.yaml and advanced.yaml that bears its name.

    Args:
        function: the stage; its first argument is the parameter record.
        call: runner of the stage, `launch.call` where several processes can share it.
    """
    name, hints = function.__name__, _hints(function)

    def command(receipt: Path | None, **arguments: Any) -> None:
        call(function, load_params(hints["params"], name), receipt, **arguments)

    keyword = inspect.Parameter.KEYWORD_ONLY
    names = [name for name in list(inspect.signature(function).parameters)[1:] if hints[name] is not AfterCommit]
    plain = get_type_hints(function)
    options = [inspect.Parameter(n, keyword, annotation=Annotated[plain[n], typer.Option()]) for n in names]
    receipt_option = Annotated[Path | None, typer.Option(help="where the stage's figures go (JSON)")]
    options.append(inspect.Parameter("receipt", keyword, annotation=receipt_option, default=None))
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    app = typer.Typer(add_completion=False)
    app.command()(command)
    run_command_line(app, name)
