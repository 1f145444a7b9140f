"""Tables of the book: cells that are text already, and the words and tones of statuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_STATUSES = {
    "ok": ("OK", "good"),
    "passed": ("Passed", "good"),
    "warning": ("Warning", "watch"),
    "critical": ("Critical", "bad"),
    "failed": ("Failed", "bad"),
    "not_computable": ("Not computable", "none"),
    "out_of_range": ("Out of range", "bad"),
    "suppressed": ("Suppressed", "none"),
    "not_judged": ("Not judged", "none"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell: its text, a small note under it, a class of the style sheet, and a status's tone (or empty)."""

    text: str
    note: str = ""
    css: str = ""
    tone: str = ""


Row = Sequence[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of each row is its heading."""

    title: str
    head: Row
    rows: Sequence[Row]
    total: Row = ()
    note: str = ""
    css: str = ""


def cell(text: str) -> Cell:
    """A cell of text."""
    return Cell(text=text)


def number(text: str, *, css: str = "", note: str = "") -> Cell:
    """A cell that stands right-aligned."""
    return Cell(text=text, css=f"num {css}".rstrip(), note=note)


def panels(
    title: str, head: Row, keys: Sequence[Row], columns: Row, values: Sequence[Row], *, axis: str = "", size: int = 12
) -> Iterator[Table]:
    """A table that may be far too wide, as tables that fit on paper; all have the ``keys``.

    Args:
        title: what each is called.
        head: headings of the keys.
        keys: the first cells of each row.
        columns: headings of the values.
        values: the other cells of each row, as many as ``columns``.
        axis: what the columns are, in words; with it, a title says its range of them.
        size: at most so many columns in each.
    """
    count = -(-len(columns) // size)
    for index in range(count):
        part = slice(index * len(columns) // count, (index + 1) * len(columns) // count)
        rows = [(*key, *line[part]) for key, line in zip(keys, values, strict=True) if any(c.text for c in line[part])]
        span = f"{axis} {columns[part][0].text} to {columns[part][-1].text}" if axis else f"{index + 1} of {count}"
        yield Table(title=f"{title}, {span}" if axis or count > 1 else title, head=(*head, *columns[part]), rows=rows)


def words(status: str) -> str:
    """A status in words."""
    return _STATUSES.get(status, (status, ""))[0]


def tone(status: str) -> str:
    """How a status is coloured and marked: good, watch, bad, none."""
    return _STATUSES.get(status, ("", "none"))[1]
