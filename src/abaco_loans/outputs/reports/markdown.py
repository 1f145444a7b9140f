"""A sheet as Markdown (GitHub's): readable as it is, and whatever stands in the facts is text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from abaco_loans.errors import InvariantError
from abaco_loans.outputs.layout import Absent, Commands, Fact, Folded, Heading, Listed, Note, Part, Section
from abaco_loans.outputs.lines import printable
from abaco_loans.outputs.reports.sheet import Sheet
from abaco_loans.outputs.tables import Cell, Row, Table

BLANK = "____________"
# What Markdown acts on within a line, "_" at the edge of a word, and what GitHub makes links of by itself.
_WITHIN = re.compile(r"[\\`*\[\]<>|~&$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)
_AT_BEGIN = re.compile(r"^(\d*)((?<=\d)[.)](?=\s|$)|(?<!\d)[#+=-](?=[\s#+=-]|$))")
_FENCE = re.compile("`+")


def markdown(sheet: Sheet) -> str:
    """The whole document. Same sheet, same text."""
    parts = [
        f"# {text(sheet.kicker)}: {text(sheet.word)}",
        *([f"**{text(sheet.badge)}**"] if sheet.badge else []),
        text(sheet.means),
        text(sheet.when),
        "\n".join(_fact(fact) for fact in sheet.facts),
    ]
    for section in sheet.sections:
        parts += _section(section)
    return "\n\n".join([*parts, "---", text(sheet.footer)]) + "\n"


def text(value: str) -> str:
    """Text as Markdown shows it as it is, on one line."""
    line = " ".join(printable(value).split())
    return _AT_BEGIN.sub(r"\1\\\2", _WITHIN.sub(lambda found: f"\\{found.group()}", line))


def _fact(fact: Fact) -> str:
    more = [text(fact.note)] if fact.note else []
    more += [f"{text(name)} {text(code)}" for name, code in fact.codes]
    return f"- {text(fact.term)}: **{text(fact.text)}**" + (f" ({', '.join(more)})" if more else "")


def _section(section: Section) -> Iterator[str]:
    yield f"## {text(section.title)}"
    if section.lead:
        yield text(section.lead)
    for part in section.parts:
        yield from _part(part, depth=3)


def _part(part: Part, *, depth: int) -> Iterator[str]:
    match part:
        case Note():
            yield text(part.text)
        case Absent():
            yield f"**{text(part.title)}: {text(part.words)}.** {text(part.reason)}"
        case Heading():
            yield f"{'#' * depth} {text(part.text)}"
        case Listed():
            yield "\n".join(
                f"{f'{number}.' if part.numbered else '-'} {text(item)}" for number, item in enumerate(part.items, 1)
            )
        case Commands():
            lines = [printable(line) for line in part.lines]
            longest = max((len(run) for line in lines for run in _FENCE.findall(line)), default=0)
            fence = "`" * max(3, longest + 1)
            yield "\n".join([fence, *lines, fence])
        case Folded():
            yield f"{'#' * depth} {text(part.title)}"
            for inside in part.parts:
                yield from _part(inside, depth=depth + 1)
        case Table():
            yield f"**{text(part.title)}**"
            yield _table(part)
            if part.note:
                yield text(part.note)
        case _:
            raise InvariantError(f"a report holds a {type(part).__name__}, which Markdown cannot show")


def _table(table: Table) -> str:
    marks = ["---:" if cell.css.startswith("num") else "---" for cell in table.head]
    rows = [*table.rows, *([table.total] if table.total else [])]
    lines = [_cells(table.head), f"| {' | '.join(marks)} |", *map(_cells, rows)]
    return "\n".join(lines)


def _cells(row: Row) -> str:
    return f"| {' | '.join(map(_cell, row))} |"


def _cell(cell: Cell) -> str:
    said = BLANK if cell.css == "blank" else text(cell.text)
    return f"{said} ({text(cell.note)})" if cell.note else said
