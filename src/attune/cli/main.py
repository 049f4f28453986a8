"""The few commands that are not stages: look at the result of the pipeline, and check what is about to be shipped."""

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attune.errors import BadInput
from attune.runtime import verify as verify_folder
from attune.stage import EXPECTED, fail, load_params

if TYPE_CHECKING:
    from attune.cli.demo.comparison import Comparison, Hit

app = typer.Typer(help="Fine-tune your own embedding model, and know that it worked.", no_args_is_help=True)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="what to look for, in your own words")],
    k: Annotated[int, typer.Option(min=1, max=100, help="how many documents to show")] = 5,
) -> None:
    """Searches the corpus with the base and the tuned encoder, side by side."""
    # torch, polars and faiss: seconds that only this command and the demo should cost
    from attune.cli.demo.comparison import DemoParams, checked, load  # noqa: PLC0415
    from attune.cli.demo.examples import read_answers  # noqa: PLC0415

    query = checked(query)
    params = load_params(DemoParams, "demo")
    sides = load(Path(), params, read_answers(Path()))
    Console().print(comparison_table(sides.search(query, k)))


def comparison_table(found: "Comparison") -> Table:
    """One column per system, one row per rank: title, score, and how the document moved."""
    table = Table(show_lines=True)
    table.add_column("rank", justify="right")
    for ranking in found.systems:
        encode, look_up = 1000 * ranking.encode_seconds, 1000 * ranking.search_seconds
        head = f"{ranking.system} ({ranking.runs_in}: encoded in {encode:.0f} ms, searched in {look_up:.0f} ms)"
        table.add_column(head, ratio=1)
    for rank, hits in enumerate(zip(*(ranking.hits for ranking in found.systems), strict=True), start=1):
        table.add_row(str(rank), *(_cell(hit, found.depth) for hit in hits))
    return table


def _cell(hit: "Hit", depth: int) -> str:
    from attune.cli.demo.comparison import direction, moved  # noqa: PLC0415

    colour = {"up": "green", "down": "red", "same": "dim"}[direction(hit)]
    mark = " [bold green]answer[/bold green]" if hit.is_answer else ""
    head = f"[bold]{escape(hit.title or hit.document_id)}[/bold]{mark}"
    facts = f"{hit.score:.3f}  [{colour}]{moved(hit, depth)}[/{colour}]"
    return f"{head}\n{facts}\n[dim]{escape(textwrap.shorten(hit.text, 160))}[/dim]"


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any that is free; else params.yaml's")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="do not open a browser")] = False,
) -> None:
    """Serves a search page on this machine, base beside tuned, and the tuned model behind OpenAI's embeddings API."""
    try:
        from attune.cli.demo import app as demo  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadInput(f"demo: {error.name} is not installed; in a clone of attune: make .venv/ready") from None
    from attune.cli.demo.comparison import DemoParams  # noqa: PLC0415

    params = load_params(DemoParams, "demo")
    with demo.listen(params.port if port is None else port) as listening:
        print("attune demo: loading the encoders and the corpus", flush=True)
        application = demo.load_application(Path(), params)
        url = demo.address(listening)
        print(f"attune demo: {url} (Ctrl-C stops it)", flush=True)
        if not no_open:
            demo.open_browser(url)
        demo.serve(application, listening)
    print("attune demo: stopped")


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="your data; without it, what params.yaml names")] = None,
    source: Annotated[str, typer.Option(help="beir, pairs, triplets or documents; guessed from the path")] = "",
    column: Annotated[list[str] | None, typer.Option(help="a column's name, such as query=question")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Looks at a data set before anything runs: counts, lengths, duplicates, the split, and what to mend."""
    from attune.cli.check import chosen, look  # noqa: PLC0415

    params, lines = chosen(path, source, column or [])
    facts = look(params)
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    Console().print(facts_table(facts))
    for note in facts["notes"]:
        Console().print(f"[yellow]look:[/yellow] {escape(note)}")
    if lines:
        print("\nTo use this data, set in params.yaml, section collect:")
        print("\n".join(f"  {line}" for line in lines))
        print("then: make repro")


def facts_table(facts: "dict[str, Any]") -> Table:
    """One row per fact, a section per kind of fact."""
    table = Table(show_header=False)
    for section in (name for name in facts if name != "notes"):
        table.add_section()
        for row, (key, value) in enumerate(facts[section].items()):
            shown = f"{value:.1%}" if key.endswith("_share") else f"{value:,.4g}" if isinstance(value, float) else value
            shown = f"{value:,}" if isinstance(value, int) else str(shown)
            words = key.removeprefix("n_").removesuffix("_share").replace("_", " ").replace(".", ": ")
            table.add_row("" if row else f"[bold]{section}[/bold]", words, shown)
    return table


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="an exported model folder")] = Path("models/onnx")) -> None:
    """Checks every file of an exported model against its manifest, and the vectors that it makes."""
    verify_folder(folder)
    print(f"{folder}: every file and every golden vector is as the manifest says")


@app.command()
def gate(
    folder: Annotated[Path, typer.Argument(help="the project's root")] = Path(),
    against: Annotated[str, typer.Option(help="a revision it must not be worse than, such as main")] = "",
) -> None:
    """Says whether this model may be merged: exits with 0 if so, 1 if a rule fails, 2 if it cannot tell."""
    from attune.cli.review.gate import review  # noqa: PLC0415

    try:
        findings = review(folder, against)
    except EXPECTED as error:
        print(f"attune gate: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    for found in findings:
        print(f"{'note' if found.is_note else 'pass' if found.is_kept else 'FAIL'}  {found.rule}: {found.figures}")
    n_failed, n_rules = sum(not found.is_kept for found in findings), sum(not found.is_note for found in findings)
    print(f"attune gate: {f'{n_failed} of {n_rules} checks fail' if n_failed else 'every rule holds'}")
    raise SystemExit(bool(n_failed))


@app.command()
def comment(
    folder: Annotated[Path, typer.Argument(help="the project's root")] = Path(),
    against: Annotated[str, typer.Option(help="the revision that the change is to be merged into")] = "main",
    baseline: Annotated[str, typer.Option(help="the revision whose tuned encoder is the base")] = "baseline",
) -> None:
    """Prints what a pull request is told about its model; in its workflow, writes it there and to the summary.

    The workflow hands its token over in GITHUB_TOKEN; without it nothing is written to the pull request.
    """
    from attune.cli.review.comment import MARKER, comment  # noqa: PLC0415
    from attune.cli.review.github import post, pull_request  # noqa: PLC0415

    request = pull_request(os.environ)
    text = comment(folder, against, baseline, request.link if request else "")
    print(text)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    token = os.environ.get("GITHUB_TOKEN")
    if request and token:
        print(f"attune comment: {post(request, token, MARKER, text)}", file=sys.stderr)


def main() -> None:
    """The `attune` command: errors are one line."""
    try:
        app()
    except EXPECTED as error:
        fail("", error)
