"""Command `attune judge`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from attune.cli.answers import Answer
from attune.errors import BadInput


@dataclass(frozen=True)
class Estimate(Answer):
    """Number of mined negatives that are answers after all, as far as they are judged; null where none is.

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


@dataclass(frozen=True)
class Added(Answer):
    """Judgments of documents that base and tuned found for test queries.

    Attributes:
        sheet: file with the unjudged documents; its column is_answer takes yes, no or ?.
        table: file of the judgments that `make repro` counts for test.
        n_drawn: documents in the sheet; 0 where none is left to judge.
        n_answers: of these, the ones that the table now has as answers.
        n_others: of these, the ones that it has as no answers.
        sentences: the same for people, with the next step.
    """

    sheet: str
    table: str
    n_drawn: int
    n_answers: int
    n_others: int
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
    test: Annotated[bool, typer.Option("--test", help="judges documents found for test queries")] = False,
) -> Estimate | Added:
    """Estimates how many mined negatives are answers, from a sample that you or a model judge; --test: fills holes."""
    if test and earlier:
        raise BadInput("attune judge: got --test and --earlier, expected one; a sheet of test queries stays valid")
    if test:
        from attune.cli.judge.unjudged import judge_test  # noqa: PLC0415 - as below, and scikit-learn

        return judge_test(sheet, reranker, endpoint)
    from attune.cli.judge.command import judge  # noqa: PLC0415 - scipy and polars take seconds to import

    return judge(sheet, earlier, reranker, endpoint)
