"""Commands `attune gate`, `attune same`, `attune diff` and `attune comment`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from attune.cli.answers import Answer, CheckResult, Verdict
from attune.evaluation.report.excerpts import isolated_words

Folder = Annotated[Path, typer.Argument(help="the project's root")]


@dataclass(frozen=True)
class Gate(Verdict):
    """Decision on the merge of a model.

    Attributes:
        may_merge: true where no check stops it, which is exit code 0; else it is 1.
        sentence: how many checks stop it, by code, and which warn.
        findings: what each check says, in the order of their codes; one may say several things.
    """

    may_merge: bool
    sentence: str
    findings: list[CheckResult]

    @property
    def exit_code(self) -> int:
        """1 where a check stops the merge."""
        return int(not self.may_merge)

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        for each in self.findings:
            status = each.status.upper() if each.is_blocking else each.status
            yield f"{each.code}  {status:14}  {each.title}: {isolated_words(each.sentence)}"
        yield f"attune gate: {self.sentence}"


def gate(
    folder: Folder = Path(),
    against: Annotated[str, typer.Option(help="revision that the model must not be worse than, such as main")] = "",
) -> Gate:
    """Decides whether the model may be merged: exit code 0 if so, 1 if a check stops it, 2 if it cannot tell."""
    from attune.cli.review.gate import judge_project, last_line, result_of  # noqa: PLC0415 - DVC takes seconds

    findings = judge_project(folder, against)
    return Gate(not any(each.is_blocking for each in findings), last_line(findings), list(map(result_of, findings)))


@dataclass(frozen=True)
class Same(Verdict):
    """Comparison of this run with a revision's.

    Attributes:
        revision: that it was compared with.
        is_fault: true where a difference is none that another class of CPU explains, which is exit code 1.
        sentence: what was found.
    """

    revision: str
    is_fault: bool
    sentence: str

    @property
    def exit_code(self) -> int:
        """1 for a fault."""
        return int(self.is_fault)

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield f"attune same: {self.sentence}"


def same(revision: Annotated[str, typer.Argument(help="revision to compare with")] = "HEAD") -> Same:
    """Tells whether this run equals a revision's: 0 if so, but for another class of CPU; 1 if not; 2 if unknown."""
    from attune.cli.review.same import compare  # noqa: PLC0415 - DVC and scipy take seconds to import

    result = compare(Path(), revision)
    return Same(revision, result.is_fault, result.sentence)


@dataclass(frozen=True)
class Difference:
    """Tuned less another encoder, on the same test queries; less base, on those that do not leak.

    Attributes:
        less: the other encoder: base, a revision's tuned encoder, or the champion.
        delta, ci_low, ci_high: by measure, with the ends of the interval; empty where the two cannot be compared.
        reason: why they cannot; "" where they can.
    """

    less: str
    delta: dict[str, float]
    ci_low: dict[str, float]
    ci_high: dict[str, float]
    reason: str


@dataclass(frozen=True)
class Differences(Answer):
    """Tuned less base, less the champion where there is one, and less a revision's tuned encoder where one is named.

    Attributes:
        differences: one per other encoder.
        markdown: the same as a table.
    """

    differences: list[Difference]
    markdown: str

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield self.markdown


def diff(
    folder: Folder = Path(),
    against: Annotated[str, typer.Option(help="revision whose tuned encoder is a row, too, such as main")] = "",
) -> Differences:
    """Prints tuned less base, and less the champion, with intervals, from the figures of this commit."""
    from attune.cli.review.comment import deltas, differences  # noqa: PLC0415 - DVC and scipy take seconds
    from attune.cli.review.gate import judge  # noqa: PLC0415

    judged = judge(folder, against)
    return Differences(differences(judged.facts, judged.limits), deltas(judged.facts, judged.limits))


@dataclass(frozen=True)
class Comment(Verdict):
    """The comment for a pull request; its exit code is no verdict, but 2 where there is none.

    Attributes:
        markdown: the comment.
        note: what became of the note on GitLab; "" without --gitlab.
    """

    markdown: str
    note: str

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield self.markdown.rstrip("\n")


def comment(
    folder: Folder = Path(),
    against: Annotated[
        str, typer.Option(show_default="origin's default branch", help="revision to be merged into")
    ] = "",
    link: Annotated[
        str, typer.Option(envvar="METRICS_LINK", help="URL of the folder metrics/ at this commit, for links")
    ] = "",
    is_note: Annotated[bool, typer.Option("--gitlab", help="also write it as a note on the merge request")] = False,
) -> Comment:
    """Prints the comment for a pull request, in Markdown: the gate's verdict, changed figures and parameters.

    In a workflow on GitHub, also appends it to the job's summary (the file $GITHUB_STEP_SUMMARY). A failure has code 2.
    """
    from attune.cli.review.comment import comment  # noqa: PLC0415 - DVC and scipy take seconds to import

    text, note = comment(folder, against, link), ""
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    if is_note:
        from attune.cli.review.gitlab import post_note  # noqa: PLC0415

        note = post_note(text)
        typer.echo(f"attune comment: {note}", err=True)
    return Comment(text, note)
