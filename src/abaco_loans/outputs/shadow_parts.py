"""The parts of a shadow report: each takes the document and gives charts, tables and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.charts import BLUE, Bar, bars
from abaco_loans.outputs.drawing import INK
from abaco_loans.outputs.layout import Absent, Folded, Note, Part
from abaco_loans.outputs.numbers import amount, brief, grouped
from abaco_loans.outputs.shadow_bridge import UNEXPLAINED
from abaco_loans.outputs.shadow_words import (
    COMPARED_HEAD,
    Document,
    capital,
    compared_cells,
    counted,
    digest,
    failure,
    kpi_cell,
    kpi_name,
    moment,
    outcome_tone,
    verdict_cell,
    worst_first,
)
from abaco_loans.outputs.tables import Cell, Row, Table, cell, number

_FOLD_FROM = 6
_SEGMENTS_MAX = 60
_ISOLATION = {
    "memory": "memory is limited",
    "writes": "it writes to its own folder only",
    "signals": "it cannot signal other processes",
    "orphans": "its children end with it",
}
_WORDS = {
    "Same": ("Both values are equal to the last digit, or both sides say for the same reason that there is none."),
    "Within tolerance": ("They differ by noise, or by less than the first of the two tolerances; no reason is needed."),
    "Explained": (
        "The difference has causes: rounding, or the parts of a bridge. What is left is within tolerance. An "
        "explained part beyond the second tolerance must have been expected by the author."
    ),
    "Unexplained": (
        "A part of the difference has no cause. Beyond the second tolerance it halts the candidate; between the "
        "two it needs an explanation that was written beforehand."
    ),
    "Not comparable": (
        "One side has no value, or the two are of another unit, grain or currency. It never passes for that. What"
        " neither side can say, or only the candidate says, is not judged."
    ),
    "Variance": (
        "The size of the difference as a percentage of the baseline, from values that are not rounded. Beside a "
        "baseline of zero there is none, and that is never 0 %."
    ),
    "Noise floor": (
        "The widest difference between repeats of the baseline on the same tape, in the KPI's unit. It is exactly"
        " 0 for a program that always says the same."
    ),
    "Tolerance": (
        "Two percentages of the value, from the gates: less than the first passes, more than the second halts. "
        "They judge the part that nothing explains."
    ),
}


# --- KPIs and segments --------------------------------------------------------------------------------------


def kpi_parts(document: Document) -> Iterator[Part]:
    """Every KPI, the worst first; what is the same, and what nobody judges, folded away where it is long."""
    ordered = worst_first(document["kpis"].items())
    if not ordered:
        yield Absent(title="KPIs", words="not compared", reason=_no_values(document))
        return
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {"": [], "the same": [], "not judged": []}
    for key, item in ordered:
        quiet = {"same": "the same", "not comparable": "not judged"}.get(item["verdict"], "")
        groups[quiet if item["outcome"] in ("pass", "not judged") else ""].append((key, item))
    shown, folded = groups.pop(""), {}
    for name, items in groups.items():
        if len(items) < _FOLD_FROM and name == "the same":
            shown += items
        elif items:
            folded[name] = items
    if shown:
        yield _kpi_table("KPIs, the worst first", shown)
    for name, items in folded.items():
        yield Folded(title=f"{counted(len(items), 'KPI')} {name}", parts=[_kpi_table(f"KPIs {name}", items)])


def _kpi_table(title: str, items: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    return Table(
        title=title,
        head=(cell("KPI"), cell("Verdict"), *COMPARED_HEAD),
        rows=[(kpi_cell(key, item), verdict_cell(item), *compared_cells(item)) for key, item in items],
        css="compared",
    )


def segment_parts(document: Document) -> Iterator[Part]:
    """The cells of segments that are not the same, the worst first."""
    found = document["segments"]
    if not found["compared"]:
        reason = "The baseline gives no" if found["only_candidate"] else "Neither side gives"
        yield Absent(title="Segments", words="not compared", reason=f"{reason} values by segment.")
        return
    cells = worst_first((f"{c['kpi']}\0{c['segment']}\0{c['segment_value']}", c) for c in found["cells"])
    if not cells:
        yield Note(text=f"All {counted(found['compared'], 'value')} by segment are the same.")
        return
    shown = [item for _, item in cells[:_SEGMENTS_MAX]]
    more = len(cells) - len(shown)
    yield Table(
        title="Segments that are not the same, the worst first",
        head=(cell("Segment"), cell("KPI"), cell("Verdict"), *COMPARED_HEAD),
        rows=[
            (
                Cell(text=item["segment_value"] or "(blank)", note=item["segment"]),
                kpi_cell(item["kpi"], item),
                verdict_cell(item),
                *compared_cells(item),
            )
            for item in shown
        ],
        css="compared",
        note=f"The first {len(shown)}; {counted(more, 'more cell')} that differ in report.json." if more else "",
    )
    causes = [line for item in shown for line in _cell_causes(item)]
    if causes:
        head = (cell("Segment"), cell("KPI"), cell("Cause"), number("Amount"), number("Loans"), cell("On top"))
        table = Table(title="Causes by cell", head=head, rows=causes, css="causes")
        yield Folded(title="Causes and loans of these cells", parts=[table])


def _cell_causes(item: Mapping[str, Any]) -> Iterator[Row]:
    """The parts of a cell's bridge, where it has one; a report of before may have none."""
    bridge = item.get("bridge") or {"parts": ()}
    for part in bridge["parts"]:
        loans = (f"{loan['loan_id']} {brief(loan['contribution'], signed=True)}" for loan in part["top"])
        yield (
            Cell(text=item["segment_value"] or "(blank)", note=item["segment"]),
            kpi_cell(item["kpi"], item),
            Cell(text=capital(part["cause"]), note=part["text"], tone="bad" if part["cause"] == UNEXPLAINED else ""),
            number(brief(part["contribution"], signed=True)),
            number(grouped(part["loans"])),
            cell("; ".join(loans) or capital(bridge["not_by_loan"])),
        )


def segments_lead(document: Document) -> str:
    """How many values by segment there are, and how many are the same."""
    found = document["segments"]
    if not found["cells"]:
        return "The same KPIs within each segment."
    return f"{counted(found['compared'], 'value')} by segment compared, {found['same']:,} of them the same."


def _no_values(document: Document) -> str:
    """Why there is nothing to compare."""
    for side in ("candidate", "baseline"):
        for run in document[side]["runs"]:
            if run["status"] != "ok":
                return f"The {side} {failure(run['status'])}, so there is nothing to compare."
    return "Neither side gave a value."


# --- loans --------------------------------------------------------------------------------------------------


def loan_parts(document: Document) -> Iterator[Part]:
    """Which loans both have, by what columns they differ, and which go to another stage."""
    loans = document["loans"]
    if loans is None:
        yield Absent(title="Loans", words="not compared", reason="At least one side gave no loan rows.")
    else:
        counts = (
            ("In both", loans["both"]),
            ("In the baseline only", loans["only_baseline"]),
            ("In the candidate only", loans["only_candidate"]),
            ("With several rows in the baseline", loans["duplicates_baseline"]),
            ("With several rows in the candidate", loans["duplicates_candidate"]),
            ("In both, with a difference in a column", loans["differing"]),
        )
        yield Table(
            title="Loans of the two sides",
            head=(cell("Loans"), number("Number")),
            rows=[(cell(name), number(grouped(count))) for name, count in counts],
        )
        if columns := [item for item in loans["columns"] if item["loans"]]:
            yield _columns_table(columns)
        else:
            yield Note(text="No column of a loan that both have differs.")
    if document["stage_moves"]:
        yield _stage_table(document)
    elif loans is not None:
        yield Note(text="No loan moves to another IFRS 9 stage.")


def _columns_table(columns: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        title="Columns in which loans differ",
        head=(cell("Column"), number("Loans"), number("Difference, in all"), number("Largest"), cell("Loan")),
        rows=[
            (
                Cell(text=item["column"], css="code"),
                number(grouped(item["loans"])),
                number(brief(item["difference"], signed=True)),
                number(brief(item["largest"], signed=True)),
                Cell(text=item["largest_loan"] or "", css="code"),
            )
            for item in columns
        ],
    )


def _stage_table(document: Document) -> Table:
    moves = document["stage_moves"]
    balance = sum((Decimal(item["balance_usd"]) for item in moves), Decimal(0))
    return Table(
        title="Loans that move to another IFRS 9 stage",
        head=(cell("Baseline"), cell("Candidate"), number("Loans"), number(f"Balance, {document['currency']}")),
        rows=[
            (
                cell(_stage(item["baseline"])),
                cell(_stage(item["candidate"])),
                number(grouped(item["loans"])),
                number(amount(item["balance_usd"])),
            )
            for item in moves
        ],
        total=(
            cell("Total"),
            cell(""),
            number(grouped(sum(item["loans"] for item in moves))),
            number(amount(str(balance))),
        ),
        note="A move of stage is critical however few loans it is, unless it was expected.",
    )


def _stage(stage: int | None) -> str:
    return "No stage" if stage is None else f"Stage {stage}"


# --- runs and history ---------------------------------------------------------------------------------------


def run_parts(document: Document) -> Iterator[Part]:
    """Time and memory of each run, what held them, and the noise floor."""
    runs = [
        (
            f"{capital(side)} {document[side]['release']}{f', run {i}' if len(document[side]['runs']) > 1 else ''}",
            run,
            c,
        )
        for side, c in (("baseline", BLUE), ("candidate", INK))
        for i, run in enumerate(document[side]["runs"], 1)
    ]
    for key, title, name in (("seconds", "Time, seconds", "time"), ("peak_memory_mb", "Peak memory, MB", "memory")):
        rows = [
            Bar(name=label, start=Decimal(0), end=Decimal(run[key]), label=_taken(run, key), colour=colour)
            for label, run, colour in runs
            if run[key] is not None
        ]
        if rows:
            yield bars(name, title, "; ".join(f"{row.name}: {row.label}" for row in rows) + ".", rows)
    yield Table(
        title="Runs",
        head=(
            cell("Run"),
            cell("How it ended"),
            number("Time", note="seconds"),
            number("Memory", note="peak, MB"),
            number("Rows accepted", note="of rows in"),
            number("Quarantined", note="rows"),
        ),
        rows=[(cell(label), *_run_cells(run)) for label, run, _ in runs],
    )
    took = {name: grouped(document["timings"][f"{name}_seconds"], 2) for name in ("compare", "total")}
    yield Note(text=f"Comparing took {took['compare']} s, all of it {took['total']} s.")
    for side in ("baseline", "candidate"):
        yield Note(text=_isolation(side, document[side]))
    yield from _noise_parts(document)


def _run_cells(run: Mapping[str, Any]) -> Row:
    done = run["status"] == "ok"
    rows = run["rows"]
    return (
        Cell(text="Ran to its end" if done else capital(failure(run["status"])), tone="good" if done else "bad"),
        number(_taken(run, "seconds")),
        number(_taken(run, "peak_memory_mb")),
        number(grouped(rows["accepted"] if rows else None), note=f"of {grouped(rows['in'])}" if rows else ""),
        number(
            grouped(rows["quarantined"] if rows else None),
            note=counted(rows["duplicates"], "duplicate") if rows else "",
        ),
    )


def _taken(run: Mapping[str, Any], key: str) -> str:
    return grouped(run[key], 2 if key == "seconds" else 1)


def _isolation(side: str, given: Mapping[str, Any]) -> str:
    held = sorted({name for run in given["runs"] for name in run["isolation"]})
    said = "; ".join(_ISOLATION.get(name, name) for name in held)
    return f"What held the {side}: {said}." if said else f"The {side} was held by nothing: it ran as abaco itself."


def _noise_parts(document: Document) -> Iterator[Part]:
    noise = document["noise"]
    repeats = counted(noise["repeats"], "time")
    loud = [(kpi, value) for kpi, value in noise["kpis"].items() if value is not None and Decimal(value)]
    if noise["repeats"] < 2:
        yield Note(text=f"The baseline ran {repeats}: no noise floor is known.")
    elif not loud:
        yield Note(text=f"The baseline ran {repeats} and said the same each time: its noise floor is exactly 0.")
    else:
        yield Note(text=f"The baseline ran {repeats} and did not say the same each time.")
        yield Table(
            title="KPIs that differ between repeats of the baseline",
            head=(cell("KPI"), number("Noise floor")),
            rows=[(Cell(text=kpi_name(document, kpi), note=kpi), number(brief(value))) for kpi, value in loud],
        )


def history_parts(document: Document, history: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    """Shadow runs of this pair and others, newest first."""
    if not history:
        yield Absent(title="History", words="empty", reason="No shadow run was recorded.")
        return
    yield Table(
        title="Shadow runs, newest first",
        head=(
            cell("Compared"),
            cell("Verdict"),
            cell("Baseline → candidate"),
            cell("Tape"),
            cell("As of"),
            cell("Run"),
        ),
        rows=[
            (
                cell(moment(item["compared_at"])),
                Cell(
                    text=capital(item["verdict"]),
                    tone=outcome_tone(item["verdict"]),
                    note="dry run" if item["dry_run"] else "",
                ),
                cell(f"{item['baseline']} → {item['candidate']}"),
                cell(item["tape"]),
                cell(item["as_of"]),
                Cell(
                    text=item["shadow_id"],
                    css="code",
                    note="this report" if item["shadow_id"] == document["shadow_id"] else "",
                ),
            )
            for item in history
        ],
    )


def word_parts(document: Document) -> Iterator[Part]:
    """What was noted, what the words mean, and what it was sealed with."""
    yield from (Note(text=capital(text)) for text in document["notes"])
    yield Table(
        title="Words",
        head=(cell("Word"), cell("Meaning")),
        rows=[(cell(word), cell(text)) for word, text in _WORDS.items()],
        css="words",
    )
    sealed = [
        (f"{capital(side)}, {kind}", document[side][kind])
        for side in ("baseline", "candidate")
        for kind in ("meaning", "policy")
    ]
    sealed += [("Gates", document["gates"]["digest"]), ("Expected differences", document["gates"]["expected_digest"])]
    sealed.append((f"Tape {document['tape']['name']}", document["tape"]["sha256"]))
    yield Table(
        title="Digests, SHA-256",
        head=(cell("Of"), cell("Digest")),
        rows=[(cell(name), Cell(text=text or digest(""), css="code")) for name, text in sealed],
    )
