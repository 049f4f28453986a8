"""Command `attune judge`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from attune.cli.answers import Answer


@dataclass(frozen=True)
class Estimate(Answer):
    """How many mined negatives are answers after all, as far as they are judged; null where none is.

    Attributes:
        sheet: file with the drawn negatives; its column is_answer takes yes, no or ?.
        n_drawn: negatives in it.
        n_judged: of these, the ones that somebody judged, the undecided included.
        n_answers: of the judged, the ones that answer their query.
        share: answers among the decided.
        ci_low, ci_high: ends of the share's interval.
        sentences: the same for people, with the next step.
    """

    sheet: str
    n_drawn: int
    n_judged: int
    n_answers: int
    share: float | None
    ci_low: float | None
    ci_high: float | None
    sentences: list[str]

    def shown(self) -> list[str]:
        """Returns the text for people."""
        return self.sentences


def judge(
    sheet: Annotated[
        Path | None, typer.Argument(show_default="data/judged/ROUND.csv", help="csv, written where there is none")
    ] = None,
    reranker: Annotated[str, typer.Option(help="folder in models/rerankers/ whose cross-encoder judges")] = "",
    endpoint: Annotated[bool, typer.Option("--endpoint", help="the model of collect.endpoint judges")] = False,
    earlier: Annotated[Path | None, typer.Option(help="sheet of an earlier mining, to take over what holds")] = None,
) -> Estimate:
    """Estimates how many mined negatives are answers after all, from a random sample that you or a model judge."""
    from attune.cli.judge.command import judge  # noqa: PLC0415 - scipy and polars take seconds to import

    return judge(sheet, earlier, reranker, endpoint)
