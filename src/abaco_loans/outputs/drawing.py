"""Chart specifications drawn as SVG that is safe to stand inside a page, and sparklines.

Vega-Lite (vl-convert, offline) draws; what it gives is read back and only shapes and text are kept: no ids that could
clash, no roles inside the picture, no fonts but the page's, no reference to anything.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import vl_convert
from markupsafe import Markup, escape

INK, SOFT, GRID = "#1b2733", "#51606e", "#e3e7eb"
_TAGS = frozenset({"g", "path", "line", "rect", "text", "tspan"})
_ATTRIBUTES = frozenset(
    {"d", "fill", "fill-opacity", "font-size", "font-weight", "height", "opacity", "stroke", "stroke-dasharray"}
    | {"stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor", "transform", "width"}
    | {"x", "x1", "x2", "y", "y1", "y2"}
)
_HIDDEN = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff")
_CONFIG = {
    "background": None,
    "font": "Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "title": None,
        "gridColor": GRID,
        "labelColor": SOFT,
        "labelFontSize": 12,
        "labelPadding": 8,
    },
    "text": {"color": INK, "fontSize": 12, "baseline": "middle"},
}


def readable(value: Any) -> Any:
    """Plain data whose texts hold no control characters, stray surrogates or marks that turn text around."""
    if isinstance(value, str):
        return "".join(_letter(letter) for letter in value) if not value.isascii() or not value.isprintable() else value
    if isinstance(value, Mapping):
        return {readable(key): readable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [readable(item) for item in value]
    return value


def _letter(letter: str) -> str:
    if letter in "\n\t":
        return " "
    hidden = letter in _HIDDEN or unicodedata.category(letter) in ("Cc", "Cs")
    return "\N{REPLACEMENT CHARACTER}" if hidden else letter


def draw(spec: Mapping[str, Any], *, name: str, title: str, text: str) -> Markup:
    """A Vega-Lite specification as inline SVG that says what it shows.

    Args:
        spec: the chart; its data stand in it.
        name: unique in the page; ids begin with it.
        title: what the chart is, for those who do not see it.
        text: what it shows, in a sentence or two.
    """
    drawn = vl_convert.vegalite_to_svg({**spec, "config": _CONFIG}, allowed_base_urls=[])
    root = ElementTree.fromstring(drawn)
    width, height = root.attrib["width"], root.attrib["height"]
    inside = Markup("").join(_kept(child) for child in root)
    head = Markup(
        '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-labelledby="{n}-title {n}-text">'
        '<title id="{n}-title">{title}</title><desc id="{n}-text">{text}</desc>'
    ).format(w=width, h=height, n=name, title=title, text=text)
    return head + inside + Markup("</svg>")


def _kept(node: ElementTree.Element) -> Markup:
    """A node without anything but shapes and text; nothing where it draws nothing."""
    tag = node.tag.rpartition("}")[2]
    if tag not in _TAGS or node.get("display") == "none" or (tag == "path" and not node.get("d")):
        return Markup("")
    inside = escape(node.text or "") + Markup("").join(_kept(child) for child in node)
    if tag in ("g", "text") and not inside:
        return Markup("")
    marks = Markup("").join(
        Markup(' {}="{}"').format(name, value) for name, value in node.attrib.items() if name in _ATTRIBUTES
    )
    if tag == "g" and not marks:
        return inside
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), marks, inside)


def sparkline(values: Sequence[Decimal | None], text: str) -> Markup:
    """The run of a value in the space of a word; its last point is marked, and gaps stay gaps.

    Args:
        values: oldest first; at least one is not None.
        text: the same in words.
    """
    width, height, edge = 132, 32, 4
    known = [value for value in values if value is not None]
    low, span = min(known), (max(known) - min(known)) or Decimal(1)
    step = Decimal(width - 2 * edge) / max(len(values) - 1, 1)
    middle = Decimal(height) / 2
    points = [
        None
        if value is None
        else (
            edge + step * index,
            middle if len(set(known)) == 1 else height - edge - (value - low) / span * (height - 2 * edge),
        )
        for index, value in enumerate(values)
    ]
    path, pen_down = "", False
    for point in points:
        if point is not None:
            path += f"{'L' if pen_down else 'M'}{point[0]:.1f} {point[1]:.1f}"
        pen_down = point is not None
    last = [point for point in points if point is not None][-1]
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><path d="{}"/>'
        '<circle cx="{:.1f}" cy="{:.1f}" r="3"/></svg>'
    ).format(width, height, text, path, *last)
