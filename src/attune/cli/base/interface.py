"""Command `attune base`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from attune.cli.answers import Answer
from attune.errors import printable


@dataclass(frozen=True)
class Encoder(Answer):
    """An encoder and the parameters that pin it.

    Attributes:
        model: name.
        place: where its files are, or the endpoint, in words.
        n_parameters: numbers in its weights; 0 where the hub does not say, and behind an endpoint.
        n_weight_bytes: bytes of its weights; 0 behind an endpoint.
        dimension: of its embeddings; 0 where its files do not say.
        max_length: tokens that it reads by its settings; 0 where they name no limit, and behind an endpoint.
        prompts: put before texts, by name.
        facts: these and more, what its family does included, in words.
        notes: what to mend or to know before it is tuned.
        parameters: that name and pin it, by full name such as base.model.
        is_written: true where they were written into params.yaml and advanced.yaml.
        next_steps: how to write them, or what runs now that they are.
    """

    model: str
    place: str
    n_parameters: int
    n_weight_bytes: int
    dimension: int
    max_length: int
    prompts: dict[str, str]
    facts: dict[str, str]
    notes: list[str]
    parameters: dict[str, Any]
    is_written: bool
    next_steps: list[str]

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield printable(f"{self.model}, from {self.place}")
        yield from (printable(f"  {name:<15} {value}") for name, value in self.facts.items())
        yield from (printable(f"note: {note}") for note in self.notes)
        yield ""
        if not self.is_written:
            from attune.cli.base.section import shown  # noqa: PLC0415 - polars takes a second to import

            yield from (*shown(self.parameters).splitlines(), "")
        yield from self.next_steps


def base(
    model: Annotated[
        str, typer.Argument(help="name of an encoder on the hub, a folder with one, or an endpoint's URL")
    ],
    revision: Annotated[str, typer.Option(help="branch, tag or commit on the hub")] = "main",
    is_written: Annotated[bool, typer.Option("--write", help="write section base of the parameters")] = False,
    name: Annotated[str, typer.Option(show_default="the only one", help="model at an endpoint")] = "",
) -> Encoder:
    """Describes an encoder: commit, sha256, licence, length, pooling, prompts; prints or writes section `base`."""
    from attune.cli.base.command import base  # noqa: PLC0415 - the hub's client and polars take a second to import

    return base(model, revision, is_written, name=name)
