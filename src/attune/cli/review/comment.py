"""Markdown comment on a pull request: at most 25 lines that decide, and the rest folded.

Above: the gate's verdict, the report's, what to ship, the checks that failed, and tuned against base, against the
revision and against the champion, with intervals. Folded: passed checks, near-domain tasks, parameters, and the figures
with a direction that changed by more than rounding, by stage. Texts in parameters can neither break a table nor become
markup.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attune.cli.review.figures import (
    Change,
    changed_figures,
    changed_parameters,
    direction,
    is_beyond_rounding,
)
from attune.cli.review.gate import judge, last_line, reader
from attune.cli.review.history import default_branch, project_root
from attune.cli.review.interface import Difference
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import Finding
from attune.evaluation.checks.facts import Facts, Missing, Snapshot
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.revision import changes_since
from attune.evaluation.report.markdown import plain, score, signed, table
from attune.evaluation.statistics.decision import Status

COMPARED = ("recall@10", "mrr@10", "ndcg@10")
MAX_SHOWN = 5  # checks above the fold
LOOSENED = "ATT024"  # limits loosened in the same change come first, as they decide what the others say
MAX_CHARACTERS = 60_000  # GitHub refuses comments above 65,536
HEADING = "## attune:"


def comment(folder: Path, against: str, link: str) -> str:
    """Returns the comment.

    Args:
        folder: the project's root.
        against: the revision that the pull request is to be merged into; "" for the default branch.
        link: URL of the folder metrics/ at this commit; "" leaves the links out.

    Raises:
        BadInput: no project there; other reasons that the gate cannot tell stand in the comment.
    """
    root, facts = project_root(folder), Facts(read=reader(folder))
    try:
        judged = judge(folder, against or default_branch(root))
    except BadInput as error:
        top = [f"{HEADING} cannot tell whether this model may be merged", _text(error), _sentences(facts, folder, link)]
        return shortened("\n\n".join(filter(None, top))) + "\n"
    is_blocked = any(each.is_blocking for each in judged.findings)
    shown = [each for each in judged.findings if each.status not in (Status.PASSED, Status.NOT_APPLICABLE)]
    shown = sorted(shown, key=lambda each: (each.check.code != LOOSENED, not each.is_blocking))
    top = [
        f"{HEADING} {'this model must not be merged' if is_blocked else 'this model may be merged'}",
        _sentences(facts, folder, link),
        _findings(shown[:MAX_SHOWN]) if shown else "",
        deltas(judged.facts, judged.limits),
    ]
    rest = [each for each in judged.findings if each not in shown[:MAX_SHOWN]]
    folded = [
        _folded(last_line(judged.findings), _findings(rest)),
        *filter(None, [near_domain_table(facts)]),
        *(_changed(judged.facts.revision, folder) if judged.facts.revision else []),
    ]
    return shortened("\n\n".join(filter(None, [*top, "\n".join(folded)]))) + "\n"


def shortened(text: str) -> str:
    """Returns at most MAX_CHARACTERS of a comment: whole lines, folded sections closed, and a notice at the end."""
    if len(text) <= MAX_CHARACTERS:
        return text
    kept = text[: MAX_CHARACTERS - 200].rpartition("\n")[0]
    kept += "\n\n</details>" * (kept.count("<details>") - kept.count("</details>"))
    return f"{kept}\n\nThis comment was cut at the length that GitHub accepts."


def _sentences(facts: Facts, folder: Path, link: str) -> str:
    """Returns the report's verdict, and below it what to ship, what is new in test, and links."""
    try:
        verdict = f"**{_text(facts.of('report', 'verdict'))}**"
        new = f"Test: {_text(facts.of('report', 'new_in_test'))}."
    except Missing as missing:
        return _text(missing)
    return f"{verdict}\n\n{' '.join(filter(None, [_to_ship(facts), new, _links(folder, link)]))}"


def _to_ship(facts: Facts) -> str:
    """Returns the choice that metrics/choices.json names, else the candidate that stage merge chose."""
    if named := facts.get("choices", "named", default=""):
        without = facts.get("choices", "without_reindex", default="")
        other = f"; without a new index {_text(without)}" if without not in ("", named) else ""
        return f"Ship: **{_text(named)}**{other}."
    return f"Ships: {_text(shipped)}." if (shipped := facts.get("report", "choice", "shipped", default="")) else ""


def _links(folder: Path, link: str) -> str:
    if not link:
        return ""
    page = f", [report.html]({link}/report.html)" if (folder / "metrics" / "report.html").is_file() else ""
    return f"Intervals, examples, side effects: [report.md]({link}/report.md){page}."


def deltas(facts: Facts, limits: GateParams) -> str:
    """Returns a table of tuned less base, less the revision's tuned and less the champion, each with its interval."""
    head = ("tuned less", *COMPARED)
    return table(head, [(_text(each.less), *_cells(each)) for each in differences(facts, limits)])


def differences(facts: Facts, limits: GateParams) -> list[Difference]:
    """Returns tuned less base, less the revision's tuned and less the champion, those that there are."""
    # the queries that the verdict counts: without those that leak, if any do
    paired = facts.get("report", "paired_without_leaks", default={}) or facts.get("report", "paired", default={})
    found = [_difference("base", paired)]
    if facts.revision is not None:
        name = facts.revision.name
        try:
            changes = changes_since(facts, limits, "tuned")
            paired = {key: {"delta": c.delta, "ci_low": c.low, "ci_high": c.high} for key, c in changes.items()}
            found.append(_difference(name, paired))
        except (Missing, BadInput) as reason:
            found.append(Difference(name, {}, {}, {}, str(reason)))
    if name := facts.get("report", "champion", "name", default=""):
        found.append(_difference(f"champion {name}", facts.get("report", "champion", "paired", default={})))
    return found


def _difference(less: str, paired: Any) -> Difference:  # noqa: ANN401
    delta, low, high = (
        {measure: float(paired[measure][key]) for measure in COMPARED if paired.get(measure)}
        for key in ("delta", "ci_low", "ci_high")
    )
    return Difference(less, delta, low, high, "")


def _cells(each: Difference) -> list[str]:
    if each.reason:
        return [_text(each.reason), "", ""]
    return [
        f"{signed(each.delta[m], 3)} ({signed(each.ci_low[m], 3)} to {signed(each.ci_high[m], 3)})"
        if m in each.delta
        else ""
        for m in COMPARED
    ]


def near_domain_table(figures: Facts) -> str:
    """Returns a folded table of base beside tuned on near-domain tasks, "" where there is none."""
    tasks = figures.get("report", "near_domain", default={})
    rows = [
        (_text(task.replace("_", " ")), f"{row['n']:,}", *(score(row[side]) for side in ("base", "tuned")))
        for task, row in tasks.items()
    ]
    head = ("near the domain, nDCG@10", "n", "base", "tuned")
    return _folded(f"{len(rows)} near-domain tasks", table(head, rows)) if rows else ""


def _findings(findings: Sequence[Finding]) -> str:
    rows = [
        (each.check.code, f"**{each.status}**" if each.is_blocking else each.status, each.check.title, each.sentence)
        for each in findings
    ]
    return table(("", "status", "check", "figures"), [(*row[:2], *map(_text, row[2:])) for row in rows])


def _changed(there: Snapshot, folder: Path) -> Iterator[str]:
    """Yields the folded tables of changed parameters, and of changed figures by stage."""
    parameters, unread = changed_parameters(there, folder.resolve())
    head = ("file", "parameter", "before", "here")
    rows = [(_text(each.file), _text(each.key), _value(each.old), _value(each.new)) for each in parameters]
    if rows or unread:
        yield _folded(f"{len(rows)} parameters changed", _lines(unread) + (table(head, rows) if rows else ""))
    figures, unread = changed_figures(there, folder.resolve())
    told = [each for each in figures if direction(each.key) and is_beyond_rounding(each)]
    blocks = [_by_stage(stage, [each for each in told if _stage(each) == stage]) for stage in _stages(told)]
    if len(figures) > len(told):
        blocks.append(f"{len(figures) - len(told):,} others changed, without a direction or within rounding.")
    if blocks or unread:
        title = f"{len(told)} figures with a direction changed since {_text(there.name)}"
        text = "\n\n".join([_lines(unread).strip(), *blocks]).strip()
        if len(text) > MAX_CHARACTERS // 2:
            text = f"Too many figures changed to list them here: `dvc metrics diff {_text(there.name)}`."
        yield _folded(title, text)


def _stage(change: Change) -> str:
    return change.file.removeprefix("metrics/").removesuffix(".json")


def _stages(changes: Sequence[Change]) -> list[str]:
    return list(dict.fromkeys(map(_stage, changes)))


def _by_stage(stage: str, changes: Sequence[Change]) -> str:
    rows = [(_text(each.key), _value(each.old), _value(each.new), *_moved(each)) for each in changes]
    return table((_text(stage), "before", "here", "change", ""), rows)


def _moved(change: Change) -> tuple[str, str]:
    """Returns a change with its sign, and whether it is for the better."""
    if (difference := change.difference) is None:
        return "", ""
    return f"{difference:+.3g}", "better" if difference * direction(change.key) > 0 else "worse"


def _value(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "—"
    return f"{value:.4g}" if isinstance(value, float) else _text(value)


def _lines(unread: Sequence[str]) -> str:
    return "".join(f"- {_text(line)}\n" for line in unread) + ("\n" if unread else "")


def _text(value: object) -> str:
    """Escapes a value for a cell or a line; it is not cut, and it mentions nobody."""
    return plain(value, limit=None, can_mention=False)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"
