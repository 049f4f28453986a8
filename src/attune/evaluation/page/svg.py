"""Charts as inline SVG in the page's colours and font, with a text alternative; equal figures give equal bytes.

matplotlib draws with placeholder colours that are then replaced by CSS variables of the page, so that one drawing
serves light mode, dark mode and print. Ids are prefixed with the chart's name, since all charts share one page.
"""

import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

# CSS variables of the page, each with a placeholder colour that occurs nowhere else
NAMES = ("ink", "muted", "rule", "bm25", "base", "adapter", "tuned", "tuned_int8", "gain", "loss")
COLOURS = {name: f"#0102{place:02x}" for place, name in enumerate(NAMES, start=16)}

NAMESPACE = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
FONT = re.compile(r"font: ([\d.]+px) [^;]+")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
STYLE = {
    "svg.fonttype": "none",  # text stays text, for search and screen readers
    "svg.hashsalt": "attune",
    "text.parse_math": False,  # labels come from the data and may contain dollar signs
    "font.size": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "text.color": COLOURS["ink"],
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
    "lines.linewidth": 2.0,
}


@dataclass(frozen=True)
class Chart:
    """A chart of the page: name (prefix of its ids), title, text alternative, and the SVG element."""

    name: str
    title: str
    description: str
    svg: Markup


def canvas(width: float = 5.2, height: float = 3.3) -> Figure:
    """Returns an empty, transparent figure of `width` x `height` inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def styled() -> AbstractContextManager[None]:
    """Returns a context with the charts' style, independent of the user's matplotlibrc."""
    return matplotlib.style.context(["default", STYLE])


def chart(figure: Figure, name: str, title: str, description: str) -> Chart:
    """Returns a drawn figure as an SVG element with `description` as its text alternative."""
    for axes in figure.axes:
        axes.patch.set_visible(False)
    file = io.StringIO()
    with styled():
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue())
    _clean(root, name)
    for tag, text in (("desc", description), ("title", title)):
        element = ElementTree.Element(NAMESPACE + tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    ElementTree.register_namespace("", NAMESPACE[1:-1])
    return Chart(name, title, description, Markup(ElementTree.tostring(root, encoding="unicode")))


def _clean(root: ElementTree.Element, name: str) -> None:
    """Removes global styles, fixed sizes and metadata, and makes ids unique on the page."""
    for key in ("width", "height", "version"):
        del root.attrib[key]
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (NAMESPACE + "metadata", NAMESPACE + "style"):
                parent.remove(child)
    linked = {value[1:] for element in root.iter() for key, value in element.attrib.items() if key == LINK}
    linked |= {id_ for element in root.iter() for value in element.attrib.values() for id_ in REFERENCE.findall(value)}
    for element in root.iter():
        _rename(element, name, linked)


def _rename(element: ElementTree.Element, name: str, linked: set[str]) -> None:
    if element.get("id") in linked:
        element.set("id", f"{name}-{element.get('id')}")
    else:
        element.attrib.pop("id", None)
    if LINK in element.attrib:
        element.set("href", f"#{name}-{element.attrib.pop(LINK)[1:]}")
    for key, value in element.attrib.items():
        themed = REFERENCE.sub(rf"url(#{name}-\1)", FONT.sub(r"font-size: \1", value))
        for colour, placeholder in COLOURS.items():
            themed = themed.replace(placeholder, f"var(--{colour})")
        element.attrib[key] = themed
