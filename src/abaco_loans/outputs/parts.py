"""The parts of the book's sections: each takes what the document says and gives charts, tables and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.charts import (
    BLUE,
    PALE,
    VERMILLION,
    Bar,
    Column,
    Figure,
    Line,
    bars,
    collected,
    curves,
    trend,
)
from abaco_loans.outputs.drawing import INK
from abaco_loans.outputs.layout import Note
from abaco_loans.outputs.numbers import NONE, amount, compact, grouped, month, percent
from abaco_loans.outputs.tables import Cell, Table, cell, number, panels, tone, words

Document = Mapping[str, Any]
_FLOWS = (
    ("disbursed", "Disbursed", 1),
    ("capitalised", "Capitalised", 1),
    ("reinstated", "Reinstated", 1),
    ("principal_paid", "Principal paid", -1),
    ("newly_written_off", "Newly written off", -1),
    ("dust_forgiven", "Dust forgiven", -1),
    ("currency", "Currency", 1),
    ("other", "Other adjustments", 1),
)
_ENOUGH_LINES = 5
_ENOUGH_POINTS = 4
_HEAT_STEPS = 8
_NAMED = "Named: the oldest cohort, one midway, the newest with four months on book, and the highest. Grey: the rest."


Shown = Figure | Table | Note


# --- risk ---------------------------------------------------------------------------------------------------


def par_parts(document: Document, par: Document) -> Iterator[Shown]:
    """PAR k over the dates."""
    dates = par["dates"]
    found = {
        key: [None if value is None else Decimal(value) for value in par[key]]
        for key in sorted((key for key in par if key.startswith("par_")), key=lambda key: int(key.removeprefix("par_")))
        if any(value is not None for value in par[key] or ())
    }
    if not found:
        return
    lines = [Line(name=_par_name(key), points=list(enumerate(values))) for key, values in found.items()]
    told = [
        f"{line.name} went from {percent(str(first), 2)} in {month(dates[x])} to {percent(str(line.last[1]), 2)} "
        f"in {month(dates[line.last[0]])}"
        for line in lines
        for x, first in [next((x, y) for x, y in line.points if y is not None)]
        if line.last
    ]
    yield trend("par-trend", "PAR trend", "; ".join(told) + ".", dates, lines)
    yield Table(
        title="PAR by date",
        head=(cell("Date"), *(number(line.name) for line in lines)),
        rows=[
            (cell(day), *(number(percent(_text(values[index]))) for values in found.values()))
            for index, day in reversed(list(enumerate(dates)))
        ],
    )


def _par_name(key: str) -> str:
    return f"PAR {key.removeprefix('par_')}"


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def ageing_parts(document: Document, ageing: Document) -> Iterator[Shown]:
    """Outstanding by days past due at the date."""
    states = ageing["states"]
    if not states:
        return
    rows = [
        Bar(
            name=item["state"],
            start=Decimal(0),
            end=Decimal(item["outstanding"]),
            label=f"{compact(item['outstanding'])} · {percent(item['share'], 1)}",
        )
        for item in states
    ]
    largest = max(states, key=lambda item: Decimal(item["outstanding"]))
    text = f"Largest is {largest['state']} with {percent(largest['share'], 1)} of the outstanding principal."
    yield bars("ageing-bars", f"Ageing at {ageing['as_of']}, {document['currency']}", text, rows)
    loans = sum(item["loans"] for item in states)
    outstanding = sum((Decimal(item["outstanding"]) for item in states), Decimal(0))
    yield Table(
        title=f"Ageing at {ageing['as_of']}",
        head=(cell("State"), number("Loans"), number(f"Outstanding, {document['currency']}"), number("Share")),
        rows=[
            (
                cell(item["state"]),
                number(grouped(item["loans"])),
                number(amount(item["outstanding"])),
                number(percent(item["share"])),
            )
            for item in states
        ],
        total=(cell("Total"), number(grouped(loans)), number(amount(_text(outstanding))), number("")),
    )


def waterfall_parts(document: Document, roll: Document) -> Iterator[Shown]:
    """The roll-forward as steps, with a break where it does not close."""
    opening, closing = Decimal(roll["opening"]), Decimal(roll["closing"])
    flows = [(name, sign * Decimal(roll[key] or 0)) for key, name, sign in _FLOWS]
    gap = closing - opening - sum((value for _, value in flows), Decimal(0))
    if gap:
        flows.append(("Break: does not close", gap))
    level = opening
    steps = [Bar(name="Opening", start=opening, end=opening, label=compact(opening), colour=INK)]
    for name, value in flows:
        if value:
            colour = BLUE if value > 0 else VERMILLION
            steps.append(
                Bar(name=name, start=level, end=level + value, label=compact(value, signed=True), colour=colour)
            )
        level += value
    steps.append(Bar(name="Closing", start=closing, end=closing, label=compact(closing), colour=INK))
    when = f"{roll['start']} to {roll['end']}"
    text = f"From {compact(opening)} at the opening to {compact(closing)} at the closing, {when}. The scale of the "
    text += "chart does not begin at zero; opening and closing are marks, the flows between them are bars."
    yield bars("roll-forward", f"Roll-forward, {when}, {document['currency']}", text, steps, joined=True)
    yield Note(text="The scale does not begin at zero: opening and closing are marks, the flows between them bars.")
    yield Table(
        title=f"Roll-forward, {when}",
        head=(cell("Step"), number(document["currency"])),
        rows=[
            (cell("Opening"), number(grouped(roll["opening"], 2))),
            *((cell(name), number(grouped(_text(value), 2, signed=True))) for name, value in flows),
        ],
        total=(cell("Closing"), number(grouped(roll["closing"], 2))),
    )


def roll_rates_parts(document: Document, rates: Document) -> Iterator[Shown]:
    """The matrix of roll rates, graded by what they mean, and its balances."""
    states, rows = rates["states"], rates["rows"]
    if not rows:
        return
    yield Table(
        title=f"Roll rates, percent of balance, {rates['window']}",
        head=(cell("From → to"), *(number(state) for state in states)),
        rows=[(cell(row["from"]), *(_heat(states, row, state) for state in states)) for row in rows],
        css="heat",
    )
    yield Note(
        text=f"Blue: the balance got better; orange: it got worse; grey: it stayed, or is missing from the tape. The "
        f"deeper, the larger the share. Small figures: {rates['interval']}."
    )
    yield Table(
        title=f"The balances behind the rates, {document['currency']}",
        head=(cell("From → to"), *(number(state) for state in states)),
        rows=[
            (cell(row["from"]), *(number(grouped((row["to"].get(s) or {}).get("balance"), 0)) for s in states))
            for row in rows
        ],
    )


def _heat(states: Sequence[str], row: Document, state: str) -> Cell:
    found = row["to"].get(state)
    if not found or found["rate"] is None:
        return number("")
    rate = Decimal(found["rate"])
    depth = 0 if rate <= 0 else 1 + min(_HEAT_STEPS - 1, int(rate * _HEAT_STEPS / 100))
    about = [found.get(name) for name in ("count_rate", "low", "high")]
    note = "" if None in about else "{} ({}–{})".format(*(grouped(value, 1) for value in about))
    return number(grouped(found["rate"], 1), css=f"{_direction(states, row['from'], state)}-{depth}", note=note)


def _direction(states: Sequence[str], start: str, end: str) -> str:
    if end in ("missing", start):
        return "same"
    if end == "repaid":
        return "better"
    if start not in states or start in ("repaid", "missing"):
        return "same"
    return "better" if states.index(end) < states.index(start) else "worse"


def vintages_parts(document: Document, vintages: Sequence[Document]) -> Iterator[Shown]:
    """Vintage curves for each k."""
    for item in vintages:
        cohorts = [cohort for cohort in item["cohorts"] if any(value is not None for _, value in cohort["points"])]
        if not cohorts:
            continue
        named = _shown(cohorts)
        lines = [
            Line(
                name=cohort["cohort"],
                points=[(age, None if value is None else Decimal(value)) for age, value in cohort["points"]],
                faint=index not in named,
            )
            for index, cohort in enumerate(cohorts)
        ]
        told = "; ".join(
            f"{line.name} stands at {percent(str(line.last[1]), 1)} after {line.last[0]} months"
            for line in lines
            if line.last and not line.faint
        )
        title = f"Ever {item['k']} or more days past due, percent of disbursed, by months on book"
        yield curves(f"vintage-{item['k']}", title, f"{told}.", lines)
        if len(named) < len(cohorts):
            yield Note(text=_NAMED)
        yield from _vintage_tables(document, item["k"], cohorts)


def _shown(cohorts: Sequence[Document]) -> set[int]:
    """Which cohorts are named in the chart: all while they are few, else the highest and some at even distances."""
    heights = [[Decimal(y) for _, y in cohort["points"] if y is not None] for cohort in cohorts]
    if len(cohorts) <= _ENOUGH_LINES:
        return set(range(len(cohorts)))
    grown = [index for index, line in enumerate(heights) if len(line) >= _ENOUGH_POINTS] or [0]
    highest = max(range(len(cohorts)), key=lambda index: max(heights[index]))
    return {grown[0], grown[len(grown) // 2], grown[-1], highest}


def _vintage_tables(document: Document, k: Any, cohorts: Sequence[Document]) -> Iterator[Shown]:
    ages = sorted({age for cohort in cohorts for age, value in cohort["points"] if value is not None})
    values = [dict(cohort["points"]) for cohort in cohorts]
    return panels(
        f"Ever {k} or more days past due, percent of disbursed",
        (cell("Cohort"), number(f"Disbursed, {document['currency']}")),
        [(cell(cohort["cohort"]), number(grouped(cohort["disbursed"], 0))) for cohort in cohorts],
        [number(str(age)) for age in ages],
        [[number("" if line.get(a) is None else grouped(line[a], 2)) for a in ages] for line in values],
        axis="months on book",
    )


# --- where the money is and comes from ----------------------------------------------------------------------


def concentration_parts(document: Document, dimensions: Sequence[Document]) -> Iterator[Shown]:
    """Top-n shares and HHI of each dimension."""
    tops = (("top1", "largest"), ("top5", "5 largest"), ("top10", "10 largest"))
    rows = [
        Bar(
            name=f"{item['dimension']}" if index == 0 else "",
            start=Decimal(0),
            end=Decimal(item[key]),
            label=f"{percent(item[key], 1)} · {name}",
            colour=(BLUE, "#6aaed6", PALE)[index],
        )
        for item in dimensions
        for index, (key, name) in enumerate(tops)
        if item[key] is not None
    ]
    if not rows:
        return
    told = "; ".join(f"{i['dimension']}: the largest holds {percent(i['top1'], 1)}" for i in dimensions)
    yield bars("concentration-bars", "Share of the outstanding principal", f"{told}.", rows, line_height=26)
    yield Table(
        title="Concentration by dimension",
        head=(cell("Dimension"), *map(number, ("Members", "Largest", "5 largest", "10 largest", "HHI"))),
        rows=[
            (
                cell(item["dimension"]),
                number(grouped(item["members"])),
                *(number(percent(item[key])) for key, _ in tops),
                number(grouped(item["hhi"], 4)),
            )
            for item in dimensions
        ],
    )
    yield Note(text="HHI is the sum of squared shares: 1 is all with one member, 1/n is even among n.")


def collections_parts(document: Document, months: Sequence[Document]) -> Iterator[Shown]:
    """Cash due and received by month."""
    columns = [
        Column(day=item["month"], due=Decimal(item["due"]), received=Decimal(item["received"]), rate=item["rate"])
        for item in months
        if item["due"] is not None and item["received"] is not None
    ]
    if not columns:
        return
    last = columns[-1]
    text = f"In {month(last.day)}, {compact(last.received)} of {compact(last.due)} {document['currency']} due was "
    text += f"received, a rate of {percent(last.rate)}." if last.rate is not None else "received."
    yield collected("collections-columns", f"Due (pale) and received (blue), {document['currency']}", text, columns)
    yield Table(
        title="Collections by month",
        head=(cell("Month"), number(f"Due, {document['currency']}"), number("Received"), number("Rate")),
        rows=[
            (cell(i["month"]), number(amount(i["due"])), number(amount(i["received"])), number(percent(i["rate"])))
            for i in reversed(months)
        ],
    )


# --- proof --------------------------------------------------------------------------------------------------


def quality_parts(document: Document, quality: Document) -> Iterator[Shown]:
    """Rows by file, and warnings."""
    counts = ("rows", "accepted", "quarantined", "duplicates")
    if quality["files"]:
        yield Table(
            title="Rows by file",
            head=(cell("File"), *(number(name.capitalize()) for name in counts)),
            rows=[(cell(i["name"]), *(number(grouped(i[name])) for name in counts)) for i in quality["files"]],
        )
    if quality["warnings"]:
        yield Table(
            title="Warnings: nothing was refused for these",
            head=(cell("Code"), cell("What"), number("Count")),
            rows=[(cell(i["code"]), cell(i["text"]), number(grouped(i["count"]))) for i in quality["warnings"]],
        )
    elif quality["files"]:
        yield Note(text="No warnings.")


def checks_parts(document: Document, checks: Sequence[Document]) -> Iterator[Shown]:
    """What the checks found."""
    yield Table(
        title="Checks",
        head=(cell("Code"), cell("What"), cell("Status"), number("Count"), number(f"Amount, {document['currency']}")),
        rows=[
            (
                cell(item["code"]),
                cell(item["text"]),
                Cell(text=words(item["status"]), tone=tone(item["status"])),
                number(NONE if item["count"] is None else grouped(item["count"])),
                number(amount(item["amount"])),
            )
            for item in checks
        ],
    )


def definition_parts(document: Document, definition: Document) -> Iterator[Shown]:
    """The definition's parameters."""
    yield Table(
        title=f"The definition: {definition['name']} {definition['version']}",
        head=(cell("Parameter"), cell("Value")),
        rows=[(cell(name), cell(str(value))) for name, value in definition["parameters"].items()],
        note=definition["text"],
    )


def definitions_parts(document: Document, definitions: Sequence[Document]) -> Iterator[Shown]:
    """KPIs with their formulas."""
    yield Table(
        title="KPIs and their formulas",
        head=(cell("Name"), cell("Formula"), cell("Unit"), cell("What it says")),
        rows=[
            (cell(item["name"]), Cell(text=item["formula"], css="code"), cell(item["unit"]), cell(item["text"]))
            for item in definitions
        ],
    )


def notes_parts(document: Document, notes: Sequence[str]) -> Iterator[Shown]:
    """What else there is to say."""
    yield from (Note(text=note) for note in notes)
