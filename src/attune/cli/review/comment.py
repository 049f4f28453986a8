"""Markdown comment on a pull request: the gate's verdict and findings, what the test had of new, changed figures.

The tables hold the same values as `dvc metrics diff` and `dvc params diff`; they are laid out here so that the order of
rows is fixed and a text in a parameter can neither break a table nor become markup.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attune.cli.review.gate import judge_project, last_line, reader
from attune.cli.review.history import Changes, dvc_diff, project_root, without_moves
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import Finding
from attune.evaluation.checks.facts import Facts, Missing
from attune.evaluation.report.markdown import plain, score, table
from attune.evaluation.statistics.decision import Status

HEADLINE_FILE = "metrics/tuned.json"
SAID_ABOVE = "checks."  # the gate's own findings
MAX_CHARACTERS = 60_000  # GitHub refuses comments above 65,536


def comment(folder: Path, against: str, baseline: str, link: str) -> str:
    """Returns the comment.

    Args:
        folder: the project's root.
        against: the revision that the pull request is to be merged into.
        baseline: the revision whose tuned encoder is the base, such as the tag `baseline`.
        link: URL of the folder metrics/ at this commit; "" leaves the links out.

    Raises:
        BadInput: no project there; other reasons that the gate cannot tell stand in the comment.
    """
    project_root(folder)
    parts = [
        *_verdict(folder, against),
        *_headline(folder, against, f"`{against}` → this pull request"),
        *_headline(folder, baseline, f"base encoder (`{baseline}`) → this pull request"),
        *_parameters(folder, against),
        _links(folder, link) if link else "",
    ]
    text, figures = "\n\n".join(part for part in parts if part), "\n\n".join(_all_figures(folder, against))
    if len(text) + len(figures) > MAX_CHARACTERS - 100:
        figures = "Too many figures changed to list them all here."
    return shortened("\n\n".join(part for part in (text, figures) if part)) + "\n"


def shortened(text: str) -> str:
    """Returns at most MAX_CHARACTERS of a comment: whole lines, folded sections closed, and a notice at the end."""
    if len(text) <= MAX_CHARACTERS:
        return text
    kept = text[: MAX_CHARACTERS - 200].rpartition("\n")[0]
    kept += "\n\n</details>" * (kept.count("<details>") - kept.count("</details>"))
    return f"{kept}\n\nThis comment was cut at the length that GitHub accepts."


def _links(folder: Path, link: str) -> str:
    page = f", or download [report.html]({link}/report.html)" if (folder / "metrics" / "report.html").is_file() else ""
    return f"Intervals, examples and side effects: read [report.md]({link}/report.md){page}."


def _verdict(folder: Path, against: str) -> Iterator[str]:
    try:
        findings = judge_project(folder, against)
    except BadInput as error:
        yield "## attune: cannot tell whether this model may be merged"
        yield _text(error)
        return
    is_blocked = any(finding.is_blocking for finding in findings)
    yield f"## attune: {'this model must not be merged' if is_blocked else 'this model may be merged'}"
    facts = Facts(read=reader(folder))
    try:
        yield f"**{_text(facts.of('report', 'verdict'))}**"
        yield f"Test: {_text(facts.of('report', 'new_in_test'))}."
        yield near_domain_table(facts)
    except Missing as missing:
        yield _text(missing)
    shown = [each for each in findings if each.status not in (Status.PASSED, Status.NOT_APPLICABLE)]
    if shown:
        yield _findings(sorted(shown, key=lambda each: not each.is_blocking))
    yield _folded(last_line(findings), _findings([each for each in findings if each not in shown]))


def near_domain_table(figures: Facts) -> str:
    """Returns a table of base beside tuned on near-domain tasks, "" where there is none."""
    try:
        tasks = figures.of("report", "near_domain")
    except Missing:
        return ""
    rows = [
        (_text(task.replace("_", " ")), f"{row['n']:,}", *(score(row[side]) for side in ("base", "tuned")))
        for task, row in tasks.items()
    ]
    return table(("near the domain, nDCG@10", "n", "base", "tuned"), rows) if rows else ""


def _findings(findings: Sequence[Finding]) -> str:
    rows = [
        (each.check.code, f"**{each.status}**" if each.is_blocking else each.status, each.check.title, each.sentence)
        for each in findings
    ]
    return table(("", "status", "check", "figures"), [(*row[:2], *map(_text, row[2:])) for row in rows])


def _headline(folder: Path, revision: str, title: str) -> Iterator[str]:
    yield f"### {title}"
    try:
        diff = dvc_diff(folder, "metrics", revision, HEADLINE_FILE)
    except BadInput as error:
        yield _text(error)
        return
    yield from map(_text, diff.unread)
    rows = [row[1:] for row in _rows(diff.changes)]
    if rows or not diff.unread:
        yield table(("figure", "before", "here", "change"), rows) if rows else "No figure of the tuned encoder changed."


def _parameters(folder: Path, revision: str) -> Iterator[str]:
    yield "### Parameters"
    try:
        diff = dvc_diff(folder, "params", revision)
    except BadInput as error:
        yield _text(error)
        return
    yield from map(_text, diff.unread)
    rows = [row[:4] for row in _rows(without_moves(diff.changes))]
    if rows or not diff.unread:
        yield table(("file", "parameter", "before", "here"), rows) if rows else "None changed."


def _all_figures(folder: Path, revision: str) -> Iterator[str]:
    try:
        diff = dvc_diff(folder, "metrics", revision)
    except BadInput:
        return  # _headline has said so
    yield "\n".join(f"- {_text(line)}" for line in diff.unread)
    if rows := [row for row in _rows(diff.changes) if not row[1].startswith(SAID_ABOVE)]:
        head = ("file", "figure", "before", "here", "change")
        yield _folded(f"all {len(rows)} figures that changed", table(head, rows))


def _rows(changes: Changes) -> list[tuple[str, ...]]:
    """Returns (file, key, before, here, change), sorted by name with 5 before 10; DVC's own order varies by run."""
    return [
        (_text(path), _text(key), *(_value(change.get(side)) for side in ("old", "new")), _delta(change.get("diff")))
        for path in sorted(changes)
        for key, change in sorted(changes[path].items(), key=lambda item: _natural(item[0]))
    ]


def _natural(key: str) -> list[tuple[bool, int, str]]:
    """Sort key that orders numbers within names by size."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", key)]


def _value(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "—"
    return f"{value:.6g}" if isinstance(value, float) else _text(value)


def _delta(value: Any) -> str:  # noqa: ANN401
    return f"{value:+.4g}" if isinstance(value, int | float) else ""


def _text(value: object) -> str:
    """Escapes a value for a cell or a line; it is not cut, and it mentions nobody."""
    return plain(value, limit=None, can_mention=False)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"
