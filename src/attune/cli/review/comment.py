"""What a pull request is told about its model, as Markdown: the gate's findings, what changed, and where to read on.

The tables are `dvc metrics diff` and `dvc params diff`, laid out here so that rows keep their order and a text in a
parameter cannot break a table or become markup.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attune.cli.review.findings import Figures, Finding, Missing
from attune.cli.review.gate import reader, review
from attune.cli.review.history import Changes, diff
from attune.errors import BadInput

MARKER = "<!-- attune: what changed -->"  # by which the comment is found again
HEADLINE = "metrics/tuned.json"
LIMIT = 60_000  # characters; a code host refuses comments above 65,536


def comment(folder: Path, against: str, baseline: str, link: str) -> str:
    """The whole comment.

    Args:
        folder: the project's root.
        against: the revision that the pull request is to be merged into.
        baseline: the revision whose tuned encoder is the base, such as the tag `baseline`.
        link: address of the folder metrics/ at this commit; "" where there is none.
    """
    parts = [
        MARKER,
        *_verdict(folder, against),
        *_section(folder, against, f"`{against}` → this pull request"),
        *_section(folder, baseline, f"base encoder (`{baseline}`) → this pull request"),
        *_params(folder, against),
        _links(folder, link) if link else "",
    ]
    text, figures = "\n\n".join(part for part in parts if part), "\n\n".join(_all_figures(folder, against))
    if len(text) + len(figures) > LIMIT - 100:
        figures = "Too many figures changed to list them all here."
    return cut("\n\n".join(part for part in (text, figures) if part)) + "\n"


def cut(text: str) -> str:
    """What of a comment the host takes: whole lines, and a last one that says that more was there."""
    if len(text) <= LIMIT:
        return text
    kept = text[: LIMIT - 200].rpartition("\n")[0]
    kept += "\n\n</details>" * (kept.count("<details>") - kept.count("</details>"))
    return f"{kept}\n\nThis comment was cut: a host takes no longer one. `make comment` prints what it is made of."


def _links(folder: Path, link: str) -> str:
    page = f", or download [report.html]({link}/report.html)" if (folder / "metrics" / "report.html").is_file() else ""
    return f"Read [report.md]({link}/report.md){page}, for intervals, examples and side effects."


def _verdict(folder: Path, against: str) -> Iterator[str]:
    try:
        findings = review(folder, against)
    except BadInput as error:
        yield "## attune: cannot tell whether this model may be merged"
        yield plain(str(error))
        return
    failed = [found for found in findings if not found.is_kept]
    yield f"## attune: {'this model must not be merged' if failed else 'this model may be merged'}"
    try:
        yield f"**{plain(Figures(reader(folder / 'metrics'), 'metrics').of('report', 'verdict'))}**"
    except Missing as missing:
        yield plain(str(missing))
    for note in (found for found in findings if found.is_note):
        yield f"**Note: {plain(note.rule)} {plain(note.figures)}.**"
    if failed:
        yield _findings(failed)
    passed = [found for found in findings if found.is_kept and not found.is_note]
    yield _folded(f"{len(passed)} of {len(passed) + len(failed)} checks pass", _findings(passed))


def _findings(findings: list[Finding]) -> str:
    rows = [("pass" if found.is_kept else "**FAIL**", plain(found.rule), plain(found.figures)) for found in findings]
    return table(("", "rule", "figures"), rows)


def _section(folder: Path, revision: str, title: str) -> Iterator[str]:
    yield f"### {title}"
    try:
        found = diff(folder, "metrics", revision, HEADLINE)
    except BadInput as error:
        yield plain(str(error))
        return
    yield from map(plain, found.unread)
    rows = [row[1:] for row in _rows(found.changes)]
    if rows or not found.unread:
        yield table(("figure", "before", "here", "change"), rows) if rows else "No figure of the tuned encoder changed."


def _params(folder: Path, revision: str) -> Iterator[str]:
    yield "### Parameters"
    try:
        found = diff(folder, "params", revision)
    except BadInput as error:
        yield plain(str(error))
        return
    yield from map(plain, found.unread)
    rows = [row[:4] for row in _rows(found.changes)]
    if rows or not found.unread:
        yield table(("file", "parameter", "before", "here"), rows) if rows else "None changed."


def _all_figures(folder: Path, revision: str) -> Iterator[str]:
    try:
        found = diff(folder, "metrics", revision)
    except BadInput:
        return  # said above
    yield "\n".join(f"- {plain(line)}" for line in found.unread)
    if rows := _rows(found.changes):
        head = ("file", "figure", "before", "here", "change")
        yield _folded(f"all {len(rows)} figures that changed", table(head, rows))


def _rows(changes: Changes) -> list[tuple[str, ...]]:
    """File, key, before, here and change; DVC's order differs from run to run, so by name, 5 before 10."""
    return [
        (plain(path), plain(key), *(_value(change.get(side)) for side in ("old", "new")), _change(change.get("diff")))
        for path in sorted(changes)
        for key, change in sorted(changes[path].items(), key=lambda item: _natural(item[0]))
    ]


def _natural(key: str) -> list[tuple[bool, int, str]]:
    """Sorts numbers in names by size."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", key)]


def _value(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "—"
    return f"{value:.6g}" if isinstance(value, float) else plain(str(value))


def _change(value: Any) -> str:  # noqa: ANN401
    return f"{value:+.4g}" if isinstance(value, int | float) else ""


def plain(text: object) -> str:
    """Text for a cell or a line: one line, no markup, nobody mentioned (recall@10 does not)."""
    words = re.sub(r"([\\|\[*`])", r"\\\1", " ".join(str(text).split()))
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"(?<!\w)@", "@\u200b", words)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in GitHub's Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"
