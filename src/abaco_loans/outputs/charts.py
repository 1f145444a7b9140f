"""The charts of the book, as Vega-Lite specifications. Each is drawn twice: for a desk or paper, and for a phone.

Colours are Okabe and Ito's, and never alone: lines differ in dash too and carry their name at their end, bars carry
their value. Names from the document stand in text marks only, never in a scale or an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from itertools import cycle
from typing import Any

from markupsafe import Markup

from abaco_loans.outputs.drawing import INK, SOFT, draw
from abaco_loans.outputs.numbers import compact, month, percent

BLUE, ORANGE, GREEN, VERMILLION, PALE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#c3ccd5"
WIDE, NARROW = 860, 340
_STYLES = ((BLUE, [1, 0]), (VERMILLION, [7, 3]), (GREEN, [2, 3]), (ORANGE, [9, 3, 2, 3]), (INK, [4, 4]))
_LINE_GAP = 15
_LABEL_WIDTH = 110
_LETTER_WIDTH = 7.5
_RUN = {"field": "run", "type": "nominal"}
_BARE: dict[str, Any] = {"axis": None}
_OWN: dict[str, Any] = {"field": "c", "type": "nominal", "scale": None}
Spec = dict[str, Any]
Row = dict[str, Any]
Scale = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawn chart: its title, what it shows in words, and its two drawings."""

    title: str
    text: str
    wide: Markup
    narrow: Markup


def figure(name: str, title: str, text: str, spec: Callable[[int], Spec]) -> Figure:
    """Draw what ``spec`` gives for each of the two widths, in pixels."""
    wide, narrow = (
        draw(spec(width), name=f"{name}-{width}", title=title, text=text) for width in (WIDE, NARROW)
    )  # fmt: skip
    return Figure(title=title, text=text, wide=wide, narrow=narrow)


# --- lines --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A named run of points; a gap is None. ``faint`` lines are context: thin, grey, unnamed."""

    name: str
    points: Sequence[tuple[int, Decimal | None]]
    faint: bool = False

    @property
    def last(self) -> tuple[int, Decimal] | None:
        """The last point that has a value."""
        return next(((x, y) for x, y in reversed(self.points) if y is not None), None)


def trend(name: str, title: str, text: str, dates: Sequence[str], lines: Sequence[Line]) -> Figure:
    """Percentages over dates; the x of a point is the index of its date."""
    moments = [int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000 for day in dates]
    placed = [
        Line(name=line.name, points=[(moments[x], y) for x, y in line.points], faint=line.faint) for line in lines
    ]

    def spec(width: int) -> Spec:
        axis = {"values": spaced(moments, width // 90), "format": "%b %y", "grid": False, "labelFlush": False}
        return _lines(placed, width, {"type": "temporal", "scale": {"type": "utc"}, "axis": axis})

    return figure(name, title, text, spec)


def curves(name: str, title: str, text: str, lines: Sequence[Line]) -> Figure:
    """Percentages over months on book."""
    last = max((line.last[0] for line in lines if line.last), default=0)

    def spec(width: int) -> Spec:
        ticks = list(range(0, last + 1, max(1, -(-last // (width // 60)))))
        axis = {"values": ticks, "grid": False, "format": "d", "labelFlush": False}
        return _lines(placed, width, {"type": "quantitative", "scale": {"domain": [0, max(last, 1)]}, "axis": axis})

    placed = sorted(lines, key=lambda line: not line.faint)
    return figure(name, title, text, spec)


def _lines(lines: Sequence[Line], width: int, across: Scale) -> Spec:
    height, right = (280, 118) if width == WIDE else (240, 112)
    top, ticks = ceiling([y for line in lines for _, y in line.points if y is not None])
    up = {
        "type": "quantitative",
        "scale": {"domain": [0, float(top)], "nice": False},
        "axis": {"values": [float(tick) for tick in ticks], "labelExpr": "format(datum.value, '~g') + ' %'"},
    }
    joined, lone = _drawn([line for line in lines if line.faint], PALE)
    mark = {"type": "line", "color": PALE, "strokeWidth": 1.2}
    layers, dots, labels = [_layer(mark, joined, x=across, y=up, detail=_RUN)], lone, []
    named = {index: line.last for index, line in enumerate(lines) if line.last and not line.faint}
    reach = _LABEL_WIDTH / (width - 46 - right)
    places = _label_places(named, top, height, reach * _span(lines))
    for (index, (x, y)), (colour, dash) in zip(named.items(), cycle(_STYLES), strict=False):
        joined, lone = _drawn([lines[index]], colour)
        mark = {"type": "line", "color": colour, "strokeDash": dash, "strokeWidth": 2.4}
        layers.append(_layer(mark, joined, x=across, y=up, detail=_RUN))
        dots += [*lone, {"x": x, "y": float(y), "c": colour}]
        labels.append({"x": x, "y": places[index], "t": f"{clipped(lines[index].name, 9)} {percent(str(y), 1)}"})
    text = {"type": "text", "align": "left", "dx": 9, "fontWeight": 600}
    halo = {**text, "color": "#fff", "stroke": "#fff", "strokeWidth": 4}
    dot = {"type": "point", "filled": True, "size": 42, "opacity": 1}
    layers.append(_layer(dot, dots, x=across, y=up, color=_OWN))
    layers += [_layer(halo, labels, x=across, y=up), _layer(text, labels, x=across, y=up)]
    return _spec(width, height, layers, left=46, right=right, bottom=30)


def _span(lines: Sequence[Line]) -> int:
    """How far the points reach across; never 0."""
    every = [x for line in lines for x, _ in line.points]
    return max(every) - min(every) or 1


def _label_places(ends: Mapping[int, tuple[int, Decimal]], top: Decimal, height: int, reach: float) -> dict[int, float]:
    """Where the names of lines stand; those that end too far apart to touch do not move one another.

    Args:
        ends: index of a line → its last point.
        top: end of the axis from 0.
        height: the axis in pixels.
        reach: how wide a name is, in units of the axis across.
    """
    places: dict[int, float] = {}
    group: dict[int, Decimal] = {}
    previous = 0
    for index in sorted(ends, key=lambda index: ends[index][0]):
        x, y = ends[index]
        if group and x - previous > reach:
            places |= spread(group, top, height)
            group = {}
        group[index], previous = y, x
    return places | spread(group, top, height)


def _drawn(lines: Sequence[Line], colour: str) -> tuple[list[Row], list[Row]]:
    """Points that a line joins, with the number of their run, and points that stand alone.

    A run ends at a gap: nothing is drawn over it.
    """
    runs: list[list[Row]] = []
    for line in lines:
        runs.append([])
        for x, y in line.points:
            if y is not None:
                runs[-1].append({"x": x, "y": float(y), "c": colour})
            elif runs[-1]:
                runs.append([])
    joined = [{**row, "run": index} for index, run in enumerate(runs) if len(run) > 1 for row in run]
    return joined, [run[0] for run in runs if len(run) == 1]


# --- bars ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A horizontal bar from ``start`` to ``end`` with its name and, in words, its value."""

    name: str
    start: Decimal
    end: Decimal
    label: str
    colour: str = BLUE


def bars(
    name: str, title: str, text: str, rows: Sequence[Bar], *, line_height: int = 34, joined: bool = False
) -> Figure:
    """Bars one below the other; where start and end are the same, a mark. ``joined``: each goes on from the last."""
    points = [point for row in rows for point in (row.start, row.end)]
    low, high = min(points), max(points)
    domain = [float(low), float(high if high > low else low + 1)]

    def spec(width: int) -> Spec:
        letters = 28 if width == WIDE else 17
        left = 18 + round(_LETTER_WIDTH * max(len(clipped(row.name, letters)) for row in rows))
        right = 12 + round(_LETTER_WIDTH * max(len(row.label) for row in rows))
        across = {"type": "quantitative", "scale": {"domain": domain, "nice": False, "zero": False}, **_BARE}
        down = {"type": "ordinal", "scale": {"paddingInner": 0.42, "paddingOuter": 0.2}, **_BARE}
        steps = [{"x": float(row.end), "y": index, "y2": index + 1} for index, row in enumerate(rows[:-1]) if joined]
        ends = [{"x": float(r.start), "x2": float(r.end), "y": i, "c": r.colour} for i, r in enumerate(rows)]
        marks = [row for row in ends if row["x"] == row["x2"]]
        labels = [{"x": float(max(r.start, r.end)), "y": i, "t": r.label} for i, r in enumerate(rows)]
        named = [{"y": i, "t": clipped(r.name, letters)} for i, r in enumerate(rows)]
        tick = {"type": "tick", "thickness": 3, "size": 22, "opacity": 1}
        layers = [
            _layer({"type": "rule", "color": PALE}, steps, x=across, y=down, y2={"field": "y2"}),
            _layer({"type": "bar"}, ends, x=across, y=down, x2={"field": "x2"}, color=_OWN),
            _layer(tick, marks, x=across, y=down, color=_OWN),
            _layer({"type": "text", "align": "left", "dx": 8}, labels, x=across, y=down),
            _layer({"type": "text", "align": "right", "dx": -10}, named, x={"value": 0}, y=down),
        ]
        return _spec(width, line_height * len(rows), layers, left=left, right=right, bottom=4)

    return figure(name, title, text, spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What was due and what was received at a date, and the rate between them in percent."""

    day: str
    due: Decimal
    received: Decimal
    rate: str | None


def collected(name: str, title: str, text: str, columns: Sequence[Column]) -> Figure:
    """A pale column for what was due, a narrow one inside it for what was received, the rate above."""
    top, ticks = ceiling([max(column.due, column.received) for column in columns])
    unit = [{"x": 0, "y": float(tick), "t": compact(tick) if tick else "0"} for tick in ticks]

    def spec(width: int) -> Spec:
        plot = width - 60
        across = {"type": "ordinal", "scale": {"paddingInner": 0.3, "paddingOuter": 0.15}, **_BARE}
        axis = {"values": [float(tick) for tick in ticks], "labels": False}
        up = {"type": "quantitative", "scale": {"domain": [0, float(top)], "nice": False}, "axis": axis}
        band = plot / len(columns)
        shown = set(spaced(range(len(columns)), int(plot // 48)))
        named = set(spaced(range(len(columns)), int(plot // 68)))
        due = [{"x": i, "y": float(column.due)} for i, column in enumerate(columns)]
        received = [{"x": i, "y": float(column.received)} for i, column in enumerate(columns)]
        rates = [
            {"x": i, "y": float(max(column.due, column.received)), "t": percent(column.rate, 0)}
            for i, column in enumerate(columns)
            if i in shown and column.rate is not None
        ]
        months = [{"x": i, "t": month(column.day)} for i, column in enumerate(columns) if i in named]
        layers = [
            _layer({"type": "bar", "color": "#d6dde4"}, due, x=across, y=up),
            _layer({"type": "bar", "color": BLUE, "width": band * 0.34}, received, x=across, y=up),
            _layer({"type": "text", "dy": -9, "fontWeight": 600}, rates, x=across, y=up),
            _layer({"type": "text", "color": SOFT}, months, x=across, y={"value": 240 + 16}),
            _layer({"type": "text", "align": "right", "dx": -8, "color": SOFT}, unit, x={"value": 0}, y=up),
        ]
        return _spec(width, 240, layers, left=52, right=8, bottom=30)

    return figure(name, title, text, spec)


# --- what charts share --------------------------------------------------------------------------------------


def _spec(width: int, height: int, layers: list[Spec], *, left: int, right: int, bottom: int) -> Spec:
    """Sizes are fixed, so that a drawing does not depend on the fonts of the machine."""
    return {
        "width": width - left - right,
        "height": height,
        "autosize": {"type": "none"},
        "padding": {"left": left, "right": right, "top": 20, "bottom": bottom},
        "layer": [layer for layer in layers if layer["data"]["values"]],
    }


def _layer(mark: Mapping[str, Any], rows: Sequence[Row], **scales: Scale) -> Spec:
    encoding = {
        channel: scale if "value" in scale or "field" in scale else {"field": channel, **scale}
        for channel, scale in scales.items()
    }
    if mark["type"] == "text":
        encoding["text"] = {"field": "t", "type": "nominal"}
    return {"mark": dict(mark), "data": {"values": list(rows)}, "encoding": encoding}


def clipped(text: str, letters: int) -> str:
    """The text, cut to so many letters; the table beside the chart has all of it."""
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"


def spaced(items: Sequence[Any], at_most: int) -> list[Any]:
    """At most so many of the items, at even distances, the last one always."""
    step = max(1, -(-len(items) // max(1, at_most)))
    return list(items[::-1][::step][::-1])


def ceiling(values: Sequence[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """The end of an axis from 0 that all the values fit under, and its round ticks."""
    high = max([*values, Decimal(0)]) or Decimal(1)
    size = Decimal(1).scaleb((high / 4).adjusted())
    step = next(size * factor for factor in map(Decimal, ("1", "2", "2.5", "5", "10")) if size * factor * 4 >= high)
    count = (high / step).to_integral_value(ROUND_CEILING)
    return step * count, [step * index for index in range(int(count) + 1)]


def spread(ends: Mapping[int, Decimal], top: Decimal, height: int) -> dict[int, float]:
    """Where the names of lines stand, in units of the axis: at their ends, moved apart where they would touch."""
    gap = float(top) * _LINE_GAP / height
    order = sorted(ends, key=lambda index: (ends[index], index))
    places = [max(float(ends[index]), 0.0) for index in order]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + gap)
    over = places[-1] - float(top) if places else 0
    if over > 0:
        places[-1] -= over
        for index in range(len(places) - 2, -1, -1):
            places[index] = min(places[index], places[index + 1] - gap)
    return dict(zip(order, places, strict=True))
