"""The static query encoder that the demo's page runs in JavaScript: its files, and searches with its vectors.

Without a static encoder (`static.steps: 0`, or an encoder behind an endpoint) the page has no script.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from attune.cli.demo.systems import MODEL
from attune.errors import BadInput
from attune.runtime.arrays import Float32
from attune.runtime.manifest import TOKENIZER, read_manifest
from attune.runtime.static import VECTORS, StaticEncoder

FOLDER = "static"  # below the shipped model
TYPES = {VECTORS: "application/octet-stream", TOKENIZER: "application/json"}
Number = Annotated[float, Field(ge=-2, le=2)]  # of a vector of length 1


class VectorRequest(BaseModel):
    """Body of POST /vector: a query and the vector that the page made of it."""

    model_config = ConfigDict(extra="forbid")

    query: StrictStr
    vector: Annotated[list[Number], Field(min_length=1)]


class StaticQueries:
    """Files of the static encoder, and its dimensions; loading checks them as the runtime does.

    Args:
        folder: of the static encoder.
        encoder: fingerprint of the encoder that has embedded the documents.

    Raises:
        BadInput: a file is missing or damaged, or the encoder is another one.
    """

    def __init__(self, folder: Path, encoder: str) -> None:
        static = StaticEncoder(folder)
        if static.fingerprint != encoder:
            raise BadInput(
                f"{folder}: made for encoder {static.fingerprint[:12]}, expected {encoder[:12]}; run `dvc repro`"
            )
        self.dim = static.dim
        self._files = {name: (folder / name).read_bytes() for name in TYPES}

    @classmethod
    def of(cls, root: Path) -> "StaticQueries | None":
        """Loads the released static encoder of a pipeline; None where it is off."""
        folder = root / MODEL / FOLDER
        return cls(folder, read_manifest(root / MODEL).fingerprint()) if folder.is_dir() else None

    def file(self, name: str) -> tuple[bytes, str] | None:
        """Returns content and media type of a file that the page reads; None for other names."""
        return (self._files[name], TYPES[name]) if name in TYPES else None

    def parse(self, body: bytes) -> tuple[str, Float32]:
        """Returns query and vector, (dim,), of a request.

        Raises:
            BadInput: the body is no such request, or the vector is another encoder's.
        """
        try:
            request = VectorRequest.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            raise BadInput(f"{place}: {first['msg']}; send a query and its vector as JSON") from None
        if len(request.vector) != self.dim:
            raise BadInput(f"vector: {len(request.vector)} numbers, expected {self.dim}; encode the query again")
        return request.query, np.array(request.vector, dtype=np.float32)
