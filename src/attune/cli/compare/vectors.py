"""Vectors of compared encoders and the seconds that they took, kept in scratch/compare.

Both stay by a hash of all that they depend on, so that a later run encodes only shards with new texts. The folder may
be deleted at any time.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attune.encoding.scored import Encoder, Way
from attune.encoding.scratch import PACKAGE, fingerprint
from attune.encoding.served import ServedEncoder
from attune.encoding.shards import LIBRARIES, Encode, Vectors, distinct, encode_kept
from attune.evaluation.scoring.judgments import Split
from attune.files import replacing
from attune.stage import Machine

SCRATCH = Path("scratch/compare")
CODE = ("encoding", "export", "runtime")  # rooms on which graphs and vectors depend


class Stopwatch:
    """Seconds that an encoder took for documents, kept in a file, because vectors are kept, too.

    Args:
        file: of the seconds.
        clock: in seconds.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.perf_counter) -> None:
        self._file, self._clock = file, clock

    def timed(self, encode: Encode) -> Encode:
        """Returns the function with its texts and seconds added to those in the file."""

        def encoded(texts: Sequence[str]) -> Vectors:
            start = self._clock()
            vectors = encode(texts)
            n_texts, seconds = self._read()
            self.write(n_texts + len(texts), seconds + self._clock() - start)
            return vectors

        return encoded

    def write(self, n_texts: int, seconds: float) -> None:
        """Replaces what is in the file."""
        with replacing(self._file) as file:
            file.write_text(json.dumps([n_texts, seconds]), encoding="utf-8")

    @property
    def per_text(self) -> float | None:
        """Seconds of a text; None where none was timed."""
        n_texts, seconds = self._read()
        return seconds / n_texts if n_texts else None

    def _read(self) -> tuple[int, float]:
        try:
            n_texts, seconds = json.loads(self._file.read_text(encoding="utf-8"))
            return int(n_texts), float(seconds)
        except (FileNotFoundError, ValueError, TypeError):
            return 0, 0.0


@dataclass(frozen=True)
class Ready:
    """An encoder that is loaded.

    Attributes:
        encoder: embeds queries and documents.
        scratch: folder of its vectors and seconds.
        about: what it is and how it reads texts.
    """

    encoder: Encoder
    scratch: Path
    about: Mapping[str, Any]

    @property
    def seconds(self) -> Stopwatch:
        """Seconds of its documents."""
        return Stopwatch(self.scratch / "seconds.json")

    def embed(self, documents: Sequence[str], split: Split) -> tuple[Vectors, Vectors]:
        """Returns the embeddings of documents and of a split's queries, (n, dim) each."""
        if isinstance(self.encoder, ServedEncoder):
            return self._served(self.encoder, documents, split)
        timed = self.seconds.timed(self.encoder.encode_document)
        return (
            encode_kept(documents, timed, self._shards("documents"), "documents"),
            encode_kept(split.texts, self.encoder.encode_query, self._shards(split.name), f"{split.name} queries"),
        )

    def _served(self, encoder: ServedEncoder, documents: Sequence[str], split: Split) -> tuple[Vectors, Vectors]:
        """Asks the endpoint, whose cache keeps vectors; its seconds count where every text was sent."""
        encoder.announce(split.texts, documents)
        unique, indices = distinct(documents)
        n_sent, _ = encoder.unsent([], unique)
        start = time.perf_counter()
        vectors = encoder.encode_document(unique)[indices]
        if n_sent == len(unique):
            self.seconds.write(n_sent, time.perf_counter() - start)
        return vectors, encoder.encode_query(split.texts)

    def _shards(self, kind: str) -> Path:
        return self.scratch / kind / "shards"  # alone in its folder, which `shards.keep` cleans


def vectors_folder(way: Way, machine: Machine, files: Sequence[Path]) -> Path:
    """Returns the folder of an encoder's vectors and seconds, named by a hash of what they depend on but the texts."""
    libraries = [name for name in LIBRARIES if name != "openvino" or way.engine == "openvino"]
    own = sorted(file for file in files if file.is_file())
    return SCRATCH / "vectors" / fingerprint((way, machine), libraries, [*own, *code()])


def code() -> list[Path]:
    """Returns the files of the rooms that make vectors: those that are loaded by now differ from run to run."""
    return sorted(file for room in CODE for file in (PACKAGE / room).rglob("*.py"))
