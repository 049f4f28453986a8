"""Turns a stage's function into its command line: typed params, whole outputs or none, errors of one line.

A stage is a function whose first argument is its parameter record and whose others are mostly paths. Those annotated
`Out` are written under a temporary name and renamed together at the end, so a stage that dies leaves nothing behind
that looks finished. What the function returns is its receipt: scalars, written to the path given as `--receipt`.
"""

import inspect
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_type_hints

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from safetensors import SafetensorError

from attune.errors import BadInput

Out = Annotated[Path, "out"]
Receipt = Mapping[str, int | float | str | bool]
_afterwards: list[Callable[[], None]] = []

PARAMS_FILE = Path("params.yaml")
# What is no fault of the program: bad data, and files that cannot be read or written. safetensors has a type of its own
# for the latter, which is no OSError (a full disk while weights are saved, weights cut short).
EXPECTED = (BadInput, OSError, SafetensorError)


class Params(BaseModel):
    """A stage's section of params.yaml: unknown keys are forbidden, every field is bounded, no field has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ParamsT = TypeVar("ParamsT", bound=Params)


def load_params(record: type[ParamsT], section: str, file: Path = PARAMS_FILE) -> ParamsT:
    """Reads one section of a params file into its record.

    Raises:
        BadInput: the file or the section is missing, it is not YAML in UTF-8, or a value is unknown or out of range.
    """
    try:
        # YAML 1.2, as DVC reads it: in YAML 1.1 `2e-5` is a string.
        sections = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; run from the project's root") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise BadInput(f"{file}:{mark.line + 1 if mark else '?'}: not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError) as error:  # a control character, another encoding, a date or number that is none
        raise BadInput(f"{file}: not valid YAML in UTF-8: {' '.join(str(error).split())}") from None
    if not isinstance(sections, dict) or section not in sections:
        raise BadInput(f"{file}: section '{section}' is missing; restore it from the project's history")
    try:
        return record.model_validate(sections[section])
    except ValidationError as error:
        raise BadInput("; ".join(_explain(file, section, e) for e in error.errors())) from None


def _explain(file: Path, section: str, error: Any) -> str:
    where = ".".join([section, *map(str, error["loc"])])
    if error["type"] == "extra_forbidden":
        return f"{file}: {where} is not a parameter of this stage; check the spelling or remove it"
    if error["type"] == "missing":
        return f"{file}: {where} is missing; every parameter must be set"
    return f"{file}: {where}: got {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}"


def partial(path: Path) -> Path:
    """The name an output has while it is being written."""
    return path.with_name(f"{path.name}.partial")


def discard(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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


def afterwards(clean_up: Callable[[], None]) -> None:
    """Has this done once the running stage's outputs have their names: what a killed stage would go on from is kept."""
    _afterwards.append(clean_up)


def _outs(function: Callable[..., Receipt | None], arguments: Mapping[str, Any]) -> list[str]:
    hints = get_type_hints(function, include_extras=True)
    return [name for name in arguments if hints[name] == Out]


def unfinished(
    function: Callable[..., Receipt | None], receipt: Path | None, arguments: Mapping[str, Any]
) -> dict[Path, Path]:
    """What a stage writes: the name while it is being written, and the final one."""
    finals = [arguments[name] for name in _outs(function, arguments)] + ([] if receipt is None else [receipt])
    return {partial(final): final for final in finals}


def with_partial_names(function: Callable[..., Receipt | None], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's arguments, its outputs under the names that they have while they are being written."""
    outs = _outs(function, arguments)
    return {name: partial(value) if name in outs else value for name, value in arguments.items()}


def call(function: Callable[..., Receipt | None], params: Params, receipt: Path | None, **arguments: Any) -> None:
    """Runs a stage with its outputs all or nothing: partial names first, renamed only when everything is written."""
    finals = unfinished(function, receipt, arguments)
    _afterwards.clear()
    try:
        for path in finals:
            discard(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        content = function(params, **with_partial_names(function, arguments))
        if receipt is not None:
            write_json(partial(receipt), content)
        for path, final in finals.items():
            discard(final)
            path.replace(final)
        for clean_up in _afterwards:
            clean_up()
    finally:
        for path in finals:
            discard(path)


def lines(message: object) -> list[str]:
    """A message as it is printed: one line for each problem."""
    problems = message.args if isinstance(message, BadInput) else [message]
    return [" ".join(str(problem).split()) for problem in problems]


def fail(name: str, message: object) -> NoReturn:
    """Prints the message to stderr, one line for each problem, and exits with 1."""
    for line in lines(message):
        print(f"{f'attune {name}'.strip()}: {line}", file=sys.stderr)
    raise SystemExit(1)


def run(function: Callable[..., Receipt | None], call: Callable[..., None] = call) -> None:
    """Runs a stage from the command line; its name is the section of params.yaml.

    Args:
        function: the stage.
        call: what runs it, `launch.call` for a stage that several processes can share.
    """
    name = function.__name__
    record = get_type_hints(function)["params"]

    def command(receipt: Path | None, **arguments: Any) -> None:
        try:
            call(function, load_params(record, name), receipt, **arguments)
        except EXPECTED as error:
            fail(name, error)

    hints = get_type_hints(function)
    names = list(inspect.signature(function).parameters)[1:]
    options = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[hints[n], typer.Option()])
        for n in names
    ]
    receipt_option = Annotated[Path | None, typer.Option(help="where the stage's figures go (JSON)")]
    options.append(
        inspect.Parameter("receipt", inspect.Parameter.KEYWORD_ONLY, annotation=receipt_option, default=None)
    )
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    typer.run(command)
