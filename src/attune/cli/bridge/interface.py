"""Command `attune bridge`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from attune.cli.answers import Answer


@dataclass(frozen=True)
class Bridged(Answer):
    """An old index mapped to a new encoder's space.

    Attributes:
        n_shared: documents that both indexes hold, on which the map was fitted.
        penalty: of the ridge regression.
        kept_share: of the new encoder's gain on dev that the bridge keeps; null where dev cannot judge it.
        ci_low, ci_high: ends of the share's interval; null as the share.
        sentence: what dev says, or why it cannot.
        out: folder of the mapped index; null where none was asked for.
        n_documents: in the old index.
    """

    n_shared: int
    penalty: float
    kept_share: float | None
    ci_low: float | None
    ci_high: float | None
    sentence: str
    out: str | None
    n_documents: int

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield f"fitted on {self.n_shared:,} documents that both indexes hold (ridge penalty {self.penalty:.2g})"
        yield self.sentence
        if self.out is not None:
            yield f"{self.out}: {self.n_documents:,} documents, for queries of the new encoder"


def bridge(
    old_index: Annotated[Path, typer.Argument(help="saved index of all documents, by the old encoder")],
    sample: Annotated[Path, typer.Argument(help="saved index of some of them, by the new encoder")],
    out: Annotated[
        Path | None, typer.Option(show_default="none is written", help="new folder for the mapped index")
    ] = None,
) -> Bridged:
    """Maps an old index to a new encoder's space by documents embedded with both; dev says what gain it keeps."""
    from attune.cli.bridge.command import bridge  # noqa: PLC0415 - scikit-learn and polars take seconds to import

    return bridge(old_index, sample, out, Path())
