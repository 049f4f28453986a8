"""Commands with at most a file of their own: verify, cutoff, times."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from attune.cli.answers import Answer
from attune.cli.repro import in_words
from attune.errors import one_line


@dataclass(frozen=True)
class Verified(Answer):
    """An exported model that is what its manifest says; the command fails for any other.

    Attributes:
        folder: of the model.
        files: that were compared, by their path in it.
    """

    folder: str
    files: list[str]

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield f"{one_line(self.folder)}: every file and every golden vector is as the manifest says"


def verify(folder: Annotated[Path, typer.Argument(help="exported model")] = Path("models/onnx")) -> Verified:
    """Verifies an exported model: every file's hash, and every graph's vectors against the golden ones."""
    from attune.runtime import verify  # noqa: PLC0415 - the gate needs no onnxruntime
    from attune.runtime.manifest import read_manifest  # noqa: PLC0415

    verify(folder)
    return Verified(str(folder), sorted(read_manifest(folder).files))


@dataclass(frozen=True)
class Cutoff(Answer):
    """The cutoff of tuned's scores that has the effect of one of base's, by dev.

    Attributes:
        old: the cutoff of base's scores.
        new: the one of tuned's.
        kept_share: of dev's relevant documents, kept by both.
        unmoved_share: of dev's relevant documents that tuned would keep at the old cutoff.
        old_probability: that a hit of base at the old cutoff is relevant.
        new_probability: that a hit of tuned at the new one is.
    """

    old: float
    new: float
    kept_share: float
    unmoved_share: float
    old_probability: float
    new_probability: float

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield (
            f"{self.new:.4f}: keeps {self.kept_share:.1%} of dev's relevant documents for tuned, as {self.old:g} does "
            f"for base; {self.old:g} unmoved would keep {self.unmoved_share:.1%}. A hit at the cutoff is relevant with "
            f"probability {self.new_probability:.2f}, for base {self.old_probability:.2f}."
        )


def cutoff(old: Annotated[float, typer.Argument(help="cutoff of the base's scores that a service uses")]) -> Cutoff:
    """Prints the cutoff of the tuned encoder's scores with the same effect."""
    from attune.cli.cutoff import moved_cutoff  # noqa: PLC0415 - scipy takes a third of a second

    return moved_cutoff(old)


@dataclass(frozen=True)
class Measured(Answer):
    """Times of this project on this machine, as metrics/times.json now holds them.

    Attributes:
        cpu: class of the machine.
        threads: CPU threads of an encoder.
        seconds: of the stages that make a system, by name; empty where `make repro` did not run here.
        milliseconds: of a query, median, by system.
        embedding_milliseconds: of embedding a query alone, median, by system.
        model_bytes: of the files that embedding a query reads, by system.
    """

    cpu: str
    threads: int
    seconds: dict[str, float]
    milliseconds: dict[str, float]
    embedding_milliseconds: dict[str, float]
    model_bytes: dict[str, int]

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        for system, value in self.milliseconds.items():
            alone = self.embedding_milliseconds.get(system)
            yield f"{system}: {value:.2f} ms a query" + ("" if alone is None else f", of it {alone:.3f} to embed it")
        yield from (f"stage {name}: {in_words(seconds)}" for name, seconds in self.seconds.items())
        lacking = "" if self.seconds else "; the stages' times are missing, as `make repro` did not make them here"
        yield f"metrics/times.json written; `make repro` shows it in the report{lacking}"


def times() -> Measured:
    """Measures a query in each system, and writes it with the stages' times to metrics/times.json, for the report."""
    from attune.cli.times import measure_times  # noqa: PLC0415 - onnxruntime and faiss take seconds to import

    found = measure_times(Path())
    return Measured(**asdict(found))
