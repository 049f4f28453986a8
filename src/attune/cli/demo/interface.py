"""Commands `attune search` and `attune demo`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from attune.cli.answers import Answer
from attune.cli.demo.hits import PairedHits
from attune.errors import BadInput
from attune.stage import load_params


def search(
    query: Annotated[str, typer.Argument(help="text to search for")],
    k: Annotated[int, typer.Option(min=1, max=100, help="number of documents to show")] = 5,
    is_hybrid: Annotated[bool, typer.Option("--hybrid", help="fuse both rankings with BM25's")] = False,
) -> PairedHits:
    """Searches the corpus with the base and the tuned encoder, side by side."""
    # torch, polars and faiss take seconds to import
    from attune.cli.demo.comparison import DemoParams, load_search, valid_query  # noqa: PLC0415
    from attune.cli.demo.examples import read_answers  # noqa: PLC0415

    query = valid_query(query)
    paired = load_search(Path(), load_params(DemoParams, "demo"), read_answers(Path()), is_hybrid)
    return paired.search(query, k)


@dataclass(frozen=True)
class Serving(Answer):
    """The demo's address, printed once it answers; the command runs on until SIGINT or SIGTERM.

    Attributes:
        url: of the page; v1/embeddings below it is OpenAI's API.
    """

    url: str

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield f"attune demo: {self.url} (Ctrl-C stops it)"


def demo(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, show_default="demo.port", help="0 takes any free port")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="do not open a browser")] = False,
) -> Iterator[Serving]:
    """Serves a search page on this machine, base beside tuned, and the tuned model behind OpenAI's embeddings API."""
    try:
        from attune.cli.demo import app as demo  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadInput(f"demo: {error.name} is not installed; in a clone of attune: make .venv/ready") from None
    from attune.cli.demo.comparison import DemoParams  # noqa: PLC0415

    params = load_params(DemoParams, "demo")
    with demo.listen(params.port if port is None else port) as listening:
        typer.echo("attune demo: loading the encoders and the corpus", err=True)
        application = demo.load_application(Path(), params)
        url = demo.address(listening)
        yield Serving(url)
        if not no_open:
            demo.open_browser(url)
        demo.serve(application, listening)
    typer.echo("attune demo: stopped", err=True)
