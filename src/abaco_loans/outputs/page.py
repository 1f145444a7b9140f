"""The book's page: cover, tiles and sections, put through the template. Every text is escaped by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from abaco_loans.outputs.drawing import readable, sparkline
from abaco_loans.outputs.layout import environment
from abaco_loans.outputs.numbers import grouped, percent
from abaco_loans.outputs.sections import NO_REASON, sections
from abaco_loans.outputs.tables import Table, cell, number, panels, tone, words

_MAY_MISS = ("definition", "tape", "dates", "tiles")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A KPI on the cover, in words."""

    name: str
    value: str
    unit: str
    status: str
    tone: str
    reason: str
    limits: str
    change: str
    spark: Markup


def page(document: Mapping[str, Any]) -> str:
    """The whole page; for the document, see `book`."""
    given = {"absent": {}, **dict.fromkeys(_MAY_MISS), **readable(document)}
    return (
        environment()
        .get_template("book.html.j2")
        .render(
            document=given,
            no_reason=NO_REASON,
            tiles=[_tile(item) for item in given["tiles"] or ()],
            history=list(_history(given)),
            sections=sections(given),
            rows=grouped(given["tape"]["rows"]) if given["tape"] else "",
        )
    )


def _tile(item: Mapping[str, Any]) -> Tile:
    values = [None if value is None else Decimal(value) for _, value in item["series"] or ()]
    known = [(day, value) for day, value in item["series"] or () if value is not None]
    text = ""
    if len(known) > 1:
        low, high = min(known, key=lambda p: Decimal(p[1])), max(known, key=lambda p: Decimal(p[1]))
        text = f"{item['name']} from {known[0][0]} to {known[-1][0]}: lowest {grouped(low[1])} on {low[0]}, "
        text += f"highest {grouped(high[1])} on {high[0]}, last {grouped(known[-1][1])}"
    status = "not_judged" if item["status"] == "ok" and not item["thresholds"] else item["status"]
    return Tile(
        name=item["name"],
        value=grouped(item["value"]),
        unit=item["unit"],
        status=words(status),
        tone=tone(status),
        reason=item["reason"] or "",
        limits=_limits(item),
        change=_change(item),
        spark=sparkline(values, text) if text else Markup(""),
    )


def _limits(item: Mapping[str, Any]) -> str:
    limits = item["thresholds"]
    if not limits:
        return "No threshold set"
    side = "or more" if limits["direction"] == "high_is_bad" else "or less"
    return f"Warning at {_measured(item, limits['warning'])}, critical at {_measured(item, limits['critical'])} {side}"


def _change(item: Mapping[str, Any]) -> str:
    change = item["change_month"]
    if change is None:
        return "No value a month ago"
    moved = Decimal(change)
    if not moved:
        return "Unchanged in a month"
    unit = " points" if item["unit"] == "%" else ""
    verdict = ""
    if item["thresholds"]:
        bad = (moved > 0) == (item["thresholds"]["direction"] == "high_is_bad")
        verdict = ", worse" if bad else ", better"
    return f"{grouped(change, signed=True)}{unit} in a month{verdict}"


def _measured(item: Mapping[str, Any], value: str) -> str:
    return percent(value, _digits(value)) if item["unit"] == "%" else grouped(value)


def _digits(value: str) -> int:
    return len(value.partition(".")[2])


def _history(document: Mapping[str, Any]) -> Iterator[Table]:
    """Values of all tiles by date: the table of the sparklines."""
    tiles = [item for item in document["tiles"] or () if item["series"]]
    series = [dict(item["series"]) for item in tiles]
    dates = sorted({day for values in series for day in values}, reverse=True)
    return panels(
        "Key figures by date",
        (cell("Date"),),
        [(cell(day),) for day in dates],
        [number(item["name"], note=item["unit"], css="name") for item in tiles],
        [[number(grouped(values.get(day))) for values in series] for day in dates],
        size=8,
    )
