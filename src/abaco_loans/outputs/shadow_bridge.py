"""The bridges of a shadow report: a waterfall from the baseline's value to the candidate's, its causes, their loans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.charts import BLUE, VERMILLION, Bar, Figure, bars, clipped
from abaco_loans.outputs.drawing import INK
from abaco_loans.outputs.layout import Absent, Folded, Heading, Note, Part
from abaco_loans.outputs.numbers import THIN, beside, brief, grouped
from abaco_loans.outputs.shadow_words import Document, capital, counted, kpi_name, listed, worst_first
from abaco_loans.outputs.tables import Cell, Table, cell, number

UNEXPLAINED = "unexplained"
_MARK = "\N{BLACK DIAMOND} "
_SCALE = 1000
_LETTERS = 16  # of a bar's label: a phone has no room for more, and the table says it all
_LEAST = 3  # of _SCALE: a part that is there is seen
Bridge = Mapping[str, Any]


def bridge_parts(document: Document) -> Iterator[Part]:
    """Every KPI that has parts, the worst first; then those of one plain cause, and those without a bridge."""
    bridges = document["bridge"]
    if not bridges and document["loans"] is not None:
        yield Note(text="No KPI that both sides give differs, so there is nothing to take apart.")
        return
    if not bridges:
        yield Absent(title="Bridge", words="none", reason="At least one side gave no loan rows to go by.")
        return
    order = [kpi for kpi, _ in worst_first(document["kpis"].items()) if kpi in bridges]
    order += [kpi for kpi in bridges if kpi not in document["kpis"]]
    whole = [kpi for kpi in order if bridges[kpi]["parts"]]
    plain = [kpi for kpi in whole if _is_plain(bridges[kpi])]
    for index, kpi in enumerate(kpi for kpi in whole if kpi not in plain):
        yield from _bridge(document, f"bridge-{index}", kpi, bridges[kpi])
    if plain:
        yield _plain_table(document, [(kpi, bridges[kpi]) for kpi in plain])
    without = [kpi for kpi in order if not bridges[kpi]["parts"] and bridges[kpi]["not_bridged"]]
    if without:
        yield Table(
            title="KPIs that are not bridged",
            head=(cell("KPI"), cell("Why not")),
            rows=[(_name(document, kpi), cell(capital(bridges[kpi]["not_bridged"]))) for kpi in without],
        )
    still = [kpi for kpi in order if kpi not in whole and kpi not in without]
    if still:
        yield Note(text=f"No difference, so no bridge: {listed([kpi_name(document, kpi) for kpi in still])}.")


def names_loans(document: Document) -> bool:
    """Whether the report says which loans differ."""
    cells = (found.get("bridge") for found in document["segments"]["cells"])
    bridges = [*document["bridge"].values(), *(bridge for bridge in cells if bridge)]
    tops = (part["top"] for bridge in bridges for part in bridge["parts"])
    columns = document["loans"]["columns"] if document["loans"] else ()
    return any(tops) or any(column["largest_loan"] for column in columns)


def _is_plain(bridge: Bridge) -> bool:
    """Whether there is one cause, and no loans: a picture of it would say no more than a line of a table."""
    return [part["cause"] == UNEXPLAINED or bool(part["top"]) for part in bridge["parts"]] == [False]


def _plain_table(document: Document, bridges: Sequence[tuple[str, Bridge]]) -> Table:
    rows = []
    for kpi, bridge in bridges:
        (part,) = bridge["parts"]
        ends = beside([bridge["baseline"], bridge["candidate"]])
        why = f"Not by loan: {bridge['not_by_loan']}" if bridge["not_by_loan"] else ""
        amount = number(
            brief(part["contribution"], signed=True), note=f"{counted(part['loans'], 'loan')}" if part["loans"] else ""
        )
        rows.append(
            (
                _name(document, kpi),
                number(ends[0]),
                amount,
                number(ends[1]),
                Cell(
                    text=f"{capital(part['cause'])}: {part['text']}" if part["text"] else capital(part["cause"]),
                    note=why,
                ),
            )
        )
    head = (cell("KPI"), number("Baseline"), number("Amount"), number("Candidate"), cell("Cause"))
    return Table(title="Differences of one cause", head=head, rows=rows, css="causes")


def _name(document: Document, kpi: str) -> Cell:
    return Cell(text=kpi_name(document, kpi), note=kpi)


def _bridge(document: Document, anchor: str, kpi: str, bridge: Bridge) -> Iterator[Part]:
    name, parts = kpi_name(document, kpi), bridge["parts"]
    unit = document["kpis"][kpi]["unit"] if kpi in document["kpis"] else ""
    yield Heading(text=name)
    yield Note(text=_summary(bridge, unit))
    yield _waterfall(document, anchor, name, unit, bridge)
    yield _parts_table(document, name, unit, bridge)
    if bridge["not_bridged"]:
        yield Note(text=f"Not bridged: {bridge['not_bridged']}. So all of the difference is unexplained.")
    if bridge["not_by_loan"]:
        yield Note(text=f"Not by loan: {bridge['not_by_loan']}. So causes have amounts, but no loans.")
    for part in parts:
        if part["top"]:
            yield _loans(name, unit, part)


def _summary(bridge: Bridge, unit: str) -> str:
    difference, left = bridge["difference"], bridge["unexplained"]
    said = f"A difference of {_in(brief(difference, signed=True), unit, difference=True)}: "
    if left is None or not Decimal(left):
        return f"{said}all of it has causes."
    if difference is not None and Decimal(left) == Decimal(difference):
        return f"{said}all of it is unexplained."
    return f"{said}{_in(brief(left, signed=True), unit, difference=True)} of it is unexplained."


def _in(text: str, unit: str, *, difference: bool = False) -> str:
    """A number with its unit; a difference of percentages is in points."""
    named = ("points" if difference else "%") if unit == "%" else unit
    return f"{text}{THIN}{named}" if named else text


def _title(part: Mapping[str, Any]) -> str:
    return f"{_MARK}{capital(part['cause'])}" if part["cause"] == UNEXPLAINED else capital(part["cause"])


def _waterfall(document: Document, anchor: str, name: str, unit: str, bridge: Bridge) -> Figure:
    """Steps from one value to the other; a chart has no axis, so that only the shape is drawn from numbers."""
    moves = [(part, Decimal(part["contribution"])) for part in bridge["parts"]]
    level = Decimal(bridge["baseline"] or 0)
    levels = [level, *(level := level + move for _, move in moves)]
    low, high = min(levels), max(levels)
    size = (high - low) or Decimal(1)
    places = [(value - low) / size * _SCALE for value in levels]
    ends = beside([bridge["baseline"], bridge["candidate"]])
    labels = [clipped(_in(end, unit), _LETTERS) for end in ends]
    sides = [f"{side.capitalize()} {document[side]['release']}" for side in ("baseline", "candidate")]
    steps = [Bar(name=sides[0], start=places[0], end=places[0], label=labels[0], colour=INK)]
    for index, (part, _) in enumerate(moves):
        steps.append(
            Bar(
                name=_title(part),
                start=places[index],
                end=_seen(places[index], places[index + 1]),
                label=clipped(brief(part["contribution"], 4, signed=True), _LETTERS),
                colour=VERMILLION if part["cause"] == UNEXPLAINED else BLUE,
            )
        )
    steps.append(Bar(name=sides[1], start=places[-1], end=places[-1], label=labels[1], colour=INK))
    text = f"{name} goes from {_in(ends[0], unit)} to {_in(ends[1], unit)}: "
    text += "; ".join(f"{part['cause']} {step.label}" for (part, _), step in zip(moves, steps[1:-1], strict=True))
    title = f"How {_in(ends[0], unit)} becomes {_in(ends[1], unit)}"
    return bars(anchor, title, f"{text}. The scale does not begin at zero.", steps, joined=True)


def _seen(start: Decimal, end: Decimal) -> Decimal:
    """Where a bar ends, so that it is seen; nothing stays nothing."""
    if start == end or abs(end - start) >= _LEAST:
        return end
    return start + (_LEAST if end > start else -_LEAST)


def _parts_table(document: Document, name: str, unit: str, bridge: Bridge) -> Table:
    ends = beside([bridge["baseline"], bridge["candidate"]])
    rows = [
        (
            Cell(text=capital(part["cause"]), tone="bad" if part["cause"] == UNEXPLAINED else ""),
            number(brief(part["contribution"], signed=True)),
            number(grouped(part["loans"])),
            cell(part["text"]),
        )
        for part in bridge["parts"]
    ]
    sides = (document["baseline"]["release"], document["candidate"]["release"])
    return Table(
        title=f"{name}: causes in order",
        head=(cell("Cause"), number("Amount", note=unit), number("Loans"), cell("What was switched")),
        rows=[(cell("Baseline"), number(ends[0]), cell(""), cell(sides[0])), *rows],
        total=(cell("Candidate"), number(ends[1]), cell(""), cell(sides[1])),
        css="causes",
    )


def _loans(name: str, unit: str, part: Mapping[str, Any]) -> Folded:
    top = part["top"]
    of = f" of {grouped(part['loans'])}" if part["loans"] and part["loans"] > len(top) else ""
    return Folded(
        title=f"{name}, {part['cause']}: {len(top)}{of} {'loan' if len(top) == 1 and not of else 'loans'}",
        opened=part["cause"] == UNEXPLAINED,
        parts=[
            Table(
                title=f"{name}, {part['cause']}: by loan",
                head=(cell("Loan"), number(f"Adds, {'points' if unit == '%' else unit}" if unit else "Adds"),
                      cell("What changed: before → after")),
                rows=[
                    (
                        Cell(text=loan["loan_id"], css="code"),
                        number(brief(loan["contribution"], signed=True)),
                        cell(_changes(loan["before"], loan["after"])),
                    )
                    for loan in top
                ],
            )
        ],
    )  # fmt: skip


def _changes(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> str:
    """The components that differ; a loan that one side does not have has none there."""
    names: Sequence[str] = list(dict.fromkeys([*before, *after]))
    changes = []
    for component in names:
        old, new = before.get(component), after.get(component)
        if old is None or new is None or Decimal(old) != Decimal(new):
            shown = beside([old, new])
            changes.append(f"{component} {shown[0] if old else 'none'} → {shown[1] if new else 'none'}")
    return "; ".join(changes) or "its own sums are the same; what it is measured against changed"
