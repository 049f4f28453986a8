"""Texts from data in a terminal's tables; widths of cells, in any script, are rich's own."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from attune.evaluation.report.excerpts import CLOSE, OPEN, RIGHT_TO_LEFT


class Isolated:
    """A cell whose right-to-left lines are isolated, so that a terminal reorders no other cell with them.

    A terminal that reorders takes the whole line of the screen for one text: two Hebrew cells with a rule between them
    would change places. Isolates take no room, and are not seen where a terminal does not reorder.
    """

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._text.wrap(console, options.max_width):
            yield Text.assemble(OPEN, line, CLOSE) if RIGHT_TO_LEFT.search(line.plain) else line

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._text)
