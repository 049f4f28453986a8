"""The table of results in a page, between the markers `<!-- results -->` and `<!-- /results -->` (`attune results`)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attune.cli.repository.interface import Results
from attune.errors import BadInput
from attune.evaluation.report.markdown import number, p_value, score, signed
from attune.files import replacing

HEADLINE_MEASURES = ("recall@10", "mrr@10", "ndcg@10")
NAME = "results"  # of the markers


def write_results(page: Path, metrics: Path) -> None:
    """Writes the table of results into a page; all else stays as it is.

    Raises:
        BadInput: a figure or the page is missing, or the page lacks the markers.
    """
    text = results(metrics)
    try:
        old = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(
            f"{page}: not found; name a page with the markers <!-- {NAME} --> and <!-- /{NAME} -->"
        ) from None
    with replacing(page) as new:
        new.write_text(put(old, NAME, text, str(page)), encoding="utf-8")


def results(metrics: Path) -> str:
    """Returns the table of all systems and of the paired differences, and the verdict below it.

    Raises:
        BadInput: a receipt is missing or not JSON.
    """
    report, n_queries = read_figures(metrics / "report.json"), read_figures(metrics / "tuned.json")["n_queries"]
    paired, n_left_out = counted(report), n_queries - int(report["without_leaks"]["lexical"]["n_queries"])
    without_leaking = f", without {number(n_left_out)} leaking queries" if report.get("paired_without_leaks") else ""
    bounds = {
        name: f"{signed(paired[name]['ci_low'], 3)} to {signed(paired[name]['ci_high'], 3)}"
        for name in HEADLINE_MEASURES
    }
    rows = [
        ["system", *HEADLINE_MEASURES],
        ["---", *["---:"] * len(HEADLINE_MEASURES)],
        *(
            [system, *(score(values[name]) for name in HEADLINE_MEASURES)]
            for system, values in report["systems"].items()
        ),
        [
            f"tuned minus base{without_leaking}",
            *(f"**{signed(paired[name]['delta'], 3)}**" for name in HEADLINE_MEASURES),
        ],
        ["its interval", *(bounds[name] for name in HEADLINE_MEASURES)],
        [
            f"its p-value (Holm, {report['n_comparisons']} comparisons)",
            *(p_value(paired[name]["p_holm"]) for name in HEADLINE_MEASURES),
        ],
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    without = without_leaks(report["without_leaks"], n_queries)
    return f"{table}\n\n{report['verdict']} Measured on {number(n_queries)} test queries. {without}"


def counted(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the comparisons by measure on the test queries that the verdict counts: without those that leak."""
    paired: dict[str, Any] = report.get("paired_without_leaks") or report["paired"]
    return paired


def without_leaks(gains: Mapping[str, Mapping[str, float]], n_queries: int) -> str:
    """Returns how many test queries leak, by words and in any way, and the gain in recall@10 without these.

    Args:
        gains: `without_leaks` of report.json, by kind of leak.
        n_queries: of test.
    """
    by_words, clean = n_queries - gains["lexical"]["n_queries"], gains["any"]
    n_close = number(n_queries - clean["n_queries"])
    said = (
        f"{number(by_words)} of them leak by words, {n_close} by words or meaning"
        if by_words
        else f"None of them is a near-duplicate of training by words; {n_close} are close to training in meaning"
    )
    said += " (nearest neighbours of the base encoder), and without these "
    if "delta" not in clean:
        return f"{said}too few are left to measure a gain."
    between = f"{signed(clean['ci_low'], 3)} to {signed(clean['ci_high'], 3)}"
    return f"{said}the gain in recall@10 is {signed(clean['delta'], 3)} ({between})."


def results_of(metrics: Path, page: Path | None) -> Results:
    """Returns what the last run found, with the page that the table was written into.

    Raises:
        BadInput: a receipt is missing or not JSON.
    """
    report, ways = read_figures(metrics / "report.json"), metrics / "choices.json"
    choices = read_figures(ways) if ways.exists() else {}  # an older attune wrote none
    return Results(
        verdict=report["verdict"].partition(":")[0],
        sentence=report["verdict"],
        ship=choices.get("named", ""),
        ship_without_reindex=choices.get("without_reindex", ""),
        n_test_queries=report["n_test_queries"],
        systems=report["systems"],
        difference=counted(report),
        markdown=results(metrics),
        page=None if page is None else str(page),
    )


def read_figures(path: Path, command: str = "make repro") -> dict[str, Any]:
    """Returns the figures in a JSON file.

    Args:
        path: of the file.
        command: that makes it, for the error.

    Raises:
        BadInput: it is missing or not JSON.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `{command}` first") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); delete it and run `{command}`") from None
    return content


def between(page: str, name: str, path: str) -> str:
    """Returns the text between the markers of this name.

    Args:
        page: text of the page.
        name: name of the table.
        path: path of the page, for the error.

    Raises:
        BadInput: the page does not have exactly one pair of these markers.
    """
    tables: list[str] = re.findall(_marked(name), page, re.DOTALL)
    if len(tables) != 1:
        raise BadInput(
            f"{path}: {len(tables)} pairs of markers <!-- {name} --> and <!-- /{name} -->, expected one; mend them"
        )
    return tables[0]


def put(page: str, name: str, text: str, path: str) -> str:
    """Returns the page with this text between the markers of this name."""
    between(page, name, path)
    return re.sub(_marked(name), lambda _: f"<!-- {name} -->\n{text}\n<!-- /{name} -->", page, flags=re.DOTALL)


def _marked(name: str) -> str:
    return rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->"
