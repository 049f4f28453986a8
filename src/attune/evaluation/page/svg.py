"""Charts as SVG inside a page: the page's own colours and letters, words for those who cannot see, the same bytes.

matplotlib draws with stand-in colours, which then become the page's CSS variables: so one drawing serves light, dark
and print. Its ids get the chart's name in front, since all charts share one page.
"""

import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

# the page's CSS variables; each stand-in is a colour that nothing else has
NAMES = ("ink", "muted", "rule", "bm25", "base", "tuned", "onnx", "onnx_int8", "gain", "loss")
COLOURS = {name: f"#0102{place:02x}" for place, name in enumerate(NAMES, start=16)}

NAMESPACE = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
FONT = re.compile(r"font: ([\d.]+px) [^;]+")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
STYLE = {
    "svg.fonttype": "none",  # letters stay letters: to be searched, read aloud and scaled
    "svg.hashsalt": "attune",
    "text.parse_math": False,  # labels may come from the data, and a dollar is a dollar
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
    """A drawing for the page: its name (an id), its title, what it shows in words, and the SVG element."""

    name: str
    title: str
    told: str
    svg: Markup


def canvas(width: float = 5.2, height: float = 3.3) -> Figure:
    """An empty figure, `width` x `height` inches, through which the page shines."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def styled() -> AbstractContextManager[None]:
    """The style that charts are drawn in, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", STYLE])


def chart(figure: Figure, name: str, title: str, told: str) -> Chart:
    """A finished figure as an SVG element whose text alternative is `told`."""
    for axes in figure.axes:
        axes.patch.set_visible(False)
    file = io.StringIO()
    with styled():
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue())
    _clean(root, name)
    for tag, text in (("desc", told), ("title", title)):
        element = ElementTree.Element(NAMESPACE + tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    ElementTree.register_namespace("", NAMESPACE[1:-1])
    return Chart(name, title, told, Markup(ElementTree.tostring(root, encoding="unicode")))


def _clean(root: ElementTree.Element, name: str) -> None:
    """Takes out what would leak into the page (a style for all elements, fixed sizes, doubled ids)."""
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
        for colour, stand_in in COLOURS.items():
            themed = themed.replace(stand_in, f"var(--{colour})")
        element.attrib[key] = themed
