"""Command line `attune`: commands that are not stages.

Heavy libraries are imported inside the commands that need them, so that `attune --help` and `attune verify` are quick.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from attune.cli.repository import commands
from attune.cli.terminal import Isolated
from attune.errors import BadInput, one_line
from attune.evaluation.report.excerpts import isolated_words
from attune.runtime import verify as verify_folder
from attune.stage import EXPECTED, fail, load_params, run_command_line

if TYPE_CHECKING:
    from attune.cli.demo.comparison import Hit, PairedHits

app = typer.Typer(help="Fine-tune your own embedding model, and know that it worked.")
commands.add_to(app)


@app.command()
def cutoff(old: Annotated[float, typer.Argument(help="cutoff of the base's scores that a service uses")]) -> None:
    """Prints the cutoff of the tuned encoder's scores with the same effect."""
    from attune.cli.cutoff import cutoff_sentence  # noqa: PLC0415  scipy takes a third of a second

    typer.echo(cutoff_sentence(old))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="text to search for")],
    k: Annotated[int, typer.Option(min=1, max=100, help="number of documents to show")] = 5,
    is_hybrid: Annotated[bool, typer.Option("--hybrid", help="fuse both rankings with BM25's")] = False,
) -> None:
    """Searches the corpus with the base and the tuned encoder, side by side."""
    # torch, polars and faiss take seconds to import
    from attune.cli.demo.comparison import DemoParams, load_search, valid_query  # noqa: PLC0415
    from attune.cli.demo.examples import read_answers  # noqa: PLC0415

    query = valid_query(query)
    paired = load_search(Path(), load_params(DemoParams, "demo"), read_answers(Path()), is_hybrid)
    Console().print(hits_table(paired.search(query, k)))


def hits_table(paired: "PairedHits") -> Table:
    """Builds a table with one column per system and one row per rank: title, score, and the change of rank."""
    table = Table(show_lines=True)
    table.add_column("rank", justify="right")
    for system in paired.systems:
        encode, look_up = 1000 * system.encode_seconds, 1000 * system.search_seconds
        head = f"{system.system} ({system.runs_in}: encoded in {encode:.0f} ms, searched in {look_up:.0f} ms)"
        table.add_column(head, ratio=1)
    for rank, hits in enumerate(zip(*(system.hits for system in paired.systems), strict=True), start=1):
        table.add_row(str(rank), *(_cell(hit, paired.depth) for hit in hits))
    return table


def _cell(hit: "Hit", depth: int) -> Isolated:
    from attune.cli.demo.comparison import direction, rank_change  # noqa: PLC0415
    from attune.evaluation.report.excerpts import cut, line  # noqa: PLC0415

    colour = {"up": "green", "down": "red", "same": "dim"}[direction(hit)]
    mark = " [bold green]answer[/bold green]" if hit.is_answer else ""
    head = f"[bold]{escape(line(hit.title) or hit.document_id)}[/bold]{mark}"
    facts = f"{hit.score:.3f}  [{colour}]{rank_change(hit, depth)}[/{colour}]"
    return Isolated(Text.from_markup(f"{head}\n{facts}\n[dim]{escape(cut(line(hit.text), 160))}[/dim]"))


@app.command()
def demo(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="demo.port", help="0 takes any free port")
    ] = None,
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
    path: Annotated[
        Path | None, typer.Argument(show_default="collect.path", help="file or folder with your data")
    ] = None,
    source: Annotated[
        str, typer.Option(show_default="guessed from the path", help="beir, pairs, triplets or documents")
    ] = "",
    column: Annotated[list[str] | None, typer.Option(help="name of a column, such as query=question")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    base: Annotated[Path | None, typer.Option(help="folder of an encoder to rehearse, instead of any data")] = None,
) -> None:
    """Profiles a data set before any run: counts, lengths, duplicates, the split with its leaks, and checks.

    With --base, does with an encoder what the pipeline will do, on a handful of texts: training, export, int8.
    """
    if base is not None:
        from attune.cli.check.encoder import check_encoder  # noqa: PLC0415 - torch takes seconds to import

        rehearsal = check_encoder(base)
        print(json.dumps(rehearsal, indent=2) if as_json else "\n".join(f"{k}: {v}" for k, v in rehearsal.items()))
        return
    from attune.cli.check.profile import profile  # noqa: PLC0415
    from attune.cli.check.source import source_params  # noqa: PLC0415

    params, lines = source_params(path, source, column or [])
    facts = profile(params)
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    Console().print(facts_table(facts))
    for code, row in facts["checks"].items():
        colour = {"passed": "green", "failed": "red"}.get(row["status"], "yellow")
        line = isolated_words(f"{row['title']}: {row['sentence']}")
        Console().print(f"{code}  [{colour}]{row['status']}[/{colour}]  {escape(line)}")
    if lines:
        print("\nTo use this data, set in params.yaml, section collect:")
        print("\n".join(f"  {line}" for line in lines))
        print("then: make repro")


def facts_table(facts: "dict[str, Any]") -> Table:
    """Builds a table with one row per fact, grouped by section."""
    table = Table(show_header=False)
    for section in (name for name in facts if name != "checks"):
        table.add_section()
        for row, (key, value) in enumerate(facts[section].items()):
            shown = Isolated(Text(_shown(key, value)))
            table.add_row("" if row else f"[bold]{section}[/bold]", _words(key), shown)
    return table


def _words(key: str) -> str:
    return key.removeprefix("n_").removesuffix("_share").replace("_", " ").replace(".", ": ")


def _shown(key: str, value: object) -> str:
    """Returns a fact as text: shares in percent, numbers grouped, yes or no, and several facts with their names."""
    if isinstance(value, dict):
        return ", ".join(f"{_words(name)} {_shown(name, own)}" for name, own in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


@app.command()
def base(
    model: Annotated[str, typer.Argument(help="name of an encoder on the hub, or a folder with one")],
    revision: Annotated[str, typer.Option(help="branch, tag or commit on the hub")] = "main",
    is_written: Annotated[bool, typer.Option("--write", help="write section base of the parameters")] = False,
) -> None:
    """Describes an encoder: commit, sha256, licence, length, pooling, prompts; prints or writes section `base`."""
    from attune.cli.base.command import base  # noqa: PLC0415 - the hub's client and polars take a second to import

    for line in base(model, revision, is_written):
        print(line)


@app.command()
def judge(
    sheet: Annotated[
        Path | None, typer.Argument(show_default="data/judged/ROUND.csv", help="csv, written where there is none")
    ] = None,
    reranker: Annotated[str, typer.Option(help="folder in models/rerankers/ whose cross-encoder judges")] = "",
    endpoint: Annotated[bool, typer.Option("--endpoint", help="the model of collect.endpoint judges")] = False,
    earlier: Annotated[Path | None, typer.Option(help="sheet of an earlier mining, to take over what holds")] = None,
    test: Annotated[bool, typer.Option("--test", help="judges documents found for test queries")] = False,
) -> None:
    """Estimates how many mined negatives are answers, from a sample that you or a model judge; --test: fills holes."""
    if test and earlier:
        raise BadInput("attune judge: got --test and --earlier, expected one; a sheet of test queries stays valid")
    if test:
        from attune.cli.judge.unjudged import judge_test  # noqa: PLC0415 - as below

        lines = judge_test(sheet, reranker, endpoint)
    else:
        from attune.cli.judge.command import judge  # noqa: PLC0415 - scipy and polars take seconds to import

        lines = judge(sheet, earlier, reranker, endpoint)
    for line in lines:
        print(line)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="exported model")] = Path("models/onnx")) -> None:
    """Verifies an exported model: every file's hash, and every graph's vectors against the golden ones."""
    verify_folder(folder)
    print(f"{one_line(folder)}: every file and every golden vector is as the manifest says")


@app.command()
def bridge(
    old_index: Annotated[Path, typer.Argument(help="saved index of all documents, by the old encoder")],
    sample: Annotated[Path, typer.Argument(help="saved index of some of them, by the new encoder")],
    out: Annotated[
        Path | None, typer.Option(show_default="none is written", help="new folder for the mapped index")
    ] = None,
) -> None:
    """Maps an old index to a new encoder's space by documents embedded with both; dev says what gain it keeps."""
    from attune.cli.bridge.command import bridge  # noqa: PLC0415 - scikit-learn and polars take seconds to import

    for line in bridge(old_index, sample, out, Path()):
        print(line, flush=True)


@contextmanager
def judging(command: str) -> Iterator[None]:
    """Ends a command that fails itself with exit code 2, by a line or a traceback: 1 is a verdict."""
    try:
        yield
    except EXPECTED as error:
        fail(command, error, code=2)
    except Exception:
        traceback.print_exc()
        raise SystemExit(2) from None


@app.command()
@judging("gate")
def gate(
    folder: Annotated[Path, typer.Argument(help="the project's root")] = Path(),
    against: Annotated[str, typer.Option(help="revision that the model must not be worse than, such as main")] = "",
) -> None:
    """Decides whether the model may be merged: exit code 0 if so, 1 if a check stops it, 2 if it cannot tell."""
    from attune.cli.review.gate import judge_project, last_line  # noqa: PLC0415

    findings = judge_project(folder, against)
    for each in findings:
        status = each.status.upper() if each.is_blocking else each.status
        print(f"{each.check.code}  {status:14}  {each.check.title}: {isolated_words(each.sentence)}")
    print(f"attune gate: {last_line(findings)}")
    raise SystemExit(any(each.is_blocking for each in findings))


@app.command()
@judging("same")
def same(revision: Annotated[str, typer.Argument(help="revision to compare with")] = "HEAD") -> None:
    """Tells whether this run equals a revision's: 0 if so, but for another class of CPU; 1 if not; 2 if unknown."""
    from attune.cli.review.same import compare  # noqa: PLC0415

    result = compare(Path(), revision)
    print(f"attune same: {result.sentence}")
    raise SystemExit(result.is_fault)


@app.command()
def diff(
    folder: Annotated[Path, typer.Argument(help="the project's root")] = Path(),
    against: Annotated[str, typer.Option(help="revision whose tuned encoder is a row, too, such as main")] = "",
) -> None:
    """Prints tuned less base, and less the champion, with intervals, from the figures of this commit."""
    from attune.cli.review.comment import deltas  # noqa: PLC0415
    from attune.cli.review.gate import judge  # noqa: PLC0415

    judged = judge(folder, against)
    print(deltas(judged.facts, judged.limits))


@app.command()
@judging("comment")
def comment(
    folder: Annotated[Path, typer.Argument(help="the project's root")] = Path(),
    against: Annotated[
        str, typer.Option(show_default="origin's default branch", help="revision to be merged into")
    ] = "",
    link: Annotated[
        str, typer.Option(envvar="METRICS_LINK", help="URL of the folder metrics/ at this commit, for links")
    ] = "",
    is_note: Annotated[bool, typer.Option("--gitlab", help="also write it as a note on the merge request")] = False,
) -> None:
    """Prints the comment for a pull request, in Markdown: the gate's verdict, changed figures and parameters.

    In a workflow on GitHub, also appends it to the job's summary (the file $GITHUB_STEP_SUMMARY). A failure has code 2.
    """
    from attune.cli.review.comment import comment  # noqa: PLC0415

    text = comment(folder, against, link)
    print(text, end="")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    if is_note:
        from attune.cli.review.gitlab import post_note  # noqa: PLC0415

        print(f"attune comment: {post_note(text)}", file=sys.stderr)


@app.command()
def times() -> None:
    """Measures a query in each system, and writes it with the stages' times to metrics/times.json, for the report."""
    from attune.cli.times import measure_times  # noqa: PLC0415 - onnxruntime and faiss take seconds to import

    print("\n".join(measure_times(Path())))


def main() -> None:
    """Runs the command `attune`; without arguments it shows the help."""
    if not sys.argv[1:]:
        sys.argv.append("--help")
    run_command_line(app)
