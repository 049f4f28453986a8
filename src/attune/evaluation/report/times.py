"""Times of this project on one machine, in git: what `attune times` measured and the report shows.

Receipts hold no times, since equal runs must give equal bytes. These stand in a file of their own that changes only
when somebody measures again, as the judgements of `attune judge` do.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from attune.errors import BadInput
from attune.files import replacing
from attune.stage import write_json

RECEIPT = "times.json"


@dataclass(frozen=True)
class Times:
    """Measured times.

    Attributes:
        cpu: class of the machine; "" where nobody measured.
        threads: CPU threads of an encoder.
        seconds: of stages, by name as `dvc repro` prints it.
        milliseconds: of a query, median, by system.
        embedding_milliseconds: of embedding a query alone, median, by system; a hybrid's is that of its vectors.
        model_bytes: of the files that embedding a query reads, by system, likewise.
    """

    cpu: str = ""
    threads: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    embedding_milliseconds: Mapping[str, float] = field(default_factory=dict)
    model_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """Returns in words where the times are from."""
        if not self.cpu:
            return "Nobody has measured times; `attune times` does."
        return f"Times are of one machine ({self.cpu}, {self.threads} threads), measured by `attune times`."


def read_times(metrics: Path) -> Times:
    """Reads the times; none where nobody measured.

    Raises:
        BadInput: the file is not what `attune times` writes.
    """
    path = metrics / RECEIPT
    if not path.is_file():
        return Times()
    try:
        return TypeAdapter(Times).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        advice = f"run: git checkout -- {path}, then attune times"
        raise BadInput(f"{path}: not what attune times writes ({place}: {first['msg']}); {advice}") from None


def write_times(metrics: Path, times: Times) -> None:
    """Writes the times, sorted by name."""
    content = {
        key: dict(sorted(value.items())) if isinstance(value, dict) else value for key, value in asdict(times).items()
    }
    with replacing(metrics / RECEIPT) as writing:
        write_json(writing, content)
