"""``abaco run``: a tape in, KPIs out."""

from __future__ import annotations

import os
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show
from abaco_loans.errors import UsageError
from abaco_loans.nearest import nearest

if TYPE_CHECKING:
    from abaco_loans.operations.workspace import Workspace


def day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """A date option, written YYYY-MM-DD."""
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise UsageError(
            f"{value!r} is not a date",
            code="CLI-103",
            where=param.opts[0],
            hint="write it like 2025-11-30",
        ) from None


@click.command()
@click.argument("tape", type=click.Path(path_type=Path, readable=False))
@click.option("--as-of", callback=day, help="Date to calculate at (YYYY-MM-DD) [default: the latest of the tape].")
@click.option("--definition", help="Definition to use [default: that of the layout].")
@click.option("--release", help="Release to use [default: the active one].")
@click.option("--layout", help="bucketed, snapshot or servicing [default: recognised from the header].")
@click.option("--mapping", help="Mapping to read the tape with [default: the one that fits].")
@click.option("--strict", is_flag=True, help="Stop if any row is refused.")
@click.option("--csv", "csv_too", is_flag=True, help="Write the clean tape as CSV too.")
@click.option("--all", "everything", is_flag=True, help="Show KPIs that this tape cannot answer, too.")
@click.option("--by", "segment", help="Show the main KPIs by a segment too, like product or region.")
@show.common
def run(
    tape: Path,
    as_of: date | None,
    definition: str | None,
    release: str | None,
    layout: str | None,
    mapping: str | None,
    strict: bool,
    csv_too: bool,
    everything: bool,
    segment: str | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Run TAPE (a file, or the folder of a servicing extract) through the pipeline.

    Reads and checks every row, computes the KPIs, publishes files under outputs/, and records it all. The same
    tape again gives the earlier result. Exit code 3 when the tape cannot be used; the last good outputs stay.
    """
    document, changes = run_once(
        tape,
        workspace,
        as_of=as_of,
        definition=definition,
        release=release,
        layout=layout,
        mapping=mapping,
        strict=strict,
        csv_too=csv_too,
    )
    if as_json:
        show.print_json(document)
    else:
        print_run(document, changes, everything=everything, segment=segment)
    if release is None and not document["earlier"]:
        _start_shadow(tape, workspace, date.fromisoformat(document["as_of"]), definition, quiet=as_json)


def _start_shadow(tape: Path, workspace: Path | None, as_of: date, definition: str | None, *, quiet: bool) -> None:
    """Let the release whose role is shadow run on the tape too, when all is said and done."""
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace, os.environ)
    if not place.settings.shadow:
        return
    from abaco_loans import wiring
    from abaco_loans.operations.start_shadow import start_shadow

    place = wiring.in_production(place)
    log = start_shadow(
        place, tape, as_of=as_of, definition=definition, command=wiring.abaco_command(), environment=os.environ
    )
    if log and not quiet:
        click.echo(f"release {place.settings.shadow} is compared on this tape in the background ({log})")


def run_once(tape: Path, workspace: Path | None, **asked: Any) -> tuple[dict[str, Any], dict[str, Decimal]]:
    """Run a tape and give its document and the changes since the last date."""
    from abaco_loans import wiring
    from abaco_loans.operations.begin_run import begin_run
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace, os.environ)
    if asked.get("release") is None:
        place = wiring.in_production(place)
    if place.release_kind(asked.get("release") or place.settings.release) == "command":
        return _run_program(tape, place, asked)
    tell = show.progress()
    try:
        with begin_run(place, tape) as begun:
            from abaco_loans.operations.run_report import changes, run_document
            from abaco_loans.operations.run_tape import RunRequest, run_tape

            outcome = run_tape(RunRequest(path=tape, **asked), wiring.run_tools(place, os.environ, tell), begun)
    finally:
        tell("")
    document = run_document(outcome, place)
    with wiring.open_records(place) as records:
        moved = changes(outcome.record, records.reader, document)
    return document, moved


def _run_program(tape: Path, place: Workspace, asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Decimal]]:
    from abaco_loans import wiring
    from abaco_loans.operations.run_program import run_program
    from abaco_loans.operations.run_report import changes, record_document
    from abaco_loans.operations.run_tape import RunRequest

    tell = show.progress()
    try:
        outcome = run_program(RunRequest(path=tape, **asked), wiring.run_tools(place, os.environ, tell), os.environ)
    finally:
        tell("")
    document = record_document(outcome.record, place, earlier=outcome.earlier)
    with wiring.open_records(place) as records:
        moved = changes(outcome.record, records.reader, document)
    return document, moved


def print_run(
    document: dict[str, Any], changes: dict[str, Decimal], *, everything: bool = False, segment: str | None = None
) -> None:
    """The run as a person reads it."""
    tape, rows = document["tape"], document["rows"]
    found = " (found: run before)" if document["earlier"] else ""
    click.echo(
        f"{show.plain(tape['path'])}: {_layout(tape)}, as of {document['as_of']},"
        f" definition {document['definition']}, release {document['release']}{found}"
    )
    if "program" in document:
        counted = f"{rows['in']:,} rows were" if rows["in"] else "the tape was"
        click.echo(f"{counted} given to the program: {' '.join(map(show.plain, document['program']['argv']))}\n")
    else:
        click.echo(
            f"rows: {rows['in']:,} in = {rows['accepted']:,} accepted + {rows['quarantined']:,} quarantined"
            f" + {rows['duplicates']:,} duplicates\n"
        )
    print_kpis(document["kpis"], changes, everything=everything)
    if segment is not None:
        print_segment(document["segments"], segment)
    for warning in document["warnings"]:
        show.note(warning)
    if rows["quarantined"]:
        _print_without_range(document["kpis"])
        click.echo("`abaco quarantine` lists what was refused, and why")
    if document["earlier"]:
        click.echo(f"this tape was run before; `abaco runs show {document['run_id']}` shows it again")
    folder = str(Path(document["outputs"][0]["path"]).parent)
    click.echo(f"\nrun {document['run_id']}; files in {folder}")


def _layout(tape: dict[str, Any]) -> str:
    """The layout, with the mapping where one was used."""
    mapping = tape.get("mapping")
    return str(tape["layout"]) if mapping in (None, "", tape["layout"]) else f"{tape['layout']} by {mapping}"


def print_kpis(kpis: dict[str, Any], changes: dict[str, Decimal], *, everything: bool) -> None:
    """The KPI table: value, status in colour and words, against its threshold, change, bounds."""
    shown = {name: item for name, item in kpis.items() if everything or item["status"] != "not_computable"}
    rows = []
    for name, item in shown.items():
        bounds = (
            ""
            if item["low"] in (None, item["value"]) and item["high"] in (None, item["value"])
            else (f"{show.number(item['low'])} .. {show.number(item['high'])}")
        )
        moved = f"{changes[name]:+,f}" if name in changes else ""
        note = item["held"] or (item["reason"] if everything else "")
        rows.append(
            (
                name,
                show.number(item["value"]),
                item["unit"],
                show.verdict(item["status"], item["thresholds"]),
                show.against(item["thresholds"]),
                moved,
                bounds,
                note,
            )
        )
    header = ("KPI", "value", "unit", "status", "warning / critical", "change", "if quarantine came back", "note")
    used = [index for index in range(len(header)) if index < 4 or any(row[index] for row in rows)]
    show.table(
        [header[index] for index in used],
        [[row[index] for index in used] for row in rows],
        right=[used.index(index) for index in (1, 5, 6) if index in used],
    )
    left = len(kpis) - len(shown)
    if left:
        click.echo(f"{left} KPIs cannot be computed from this tape (--all shows why)")
        reasons = Counter(item["reason"] for name, item in kpis.items() if name not in shown)
        of_rows = [reason for reason in reasons if not reason.startswith(_LACKING) and _FOLLOWS not in reason]
        for reason in of_rows[:_NAMED_MAX]:
            click.echo(f"  {reasons[reason]} of them: {show.plain(reason)}")


def _print_without_range(kpis: dict[str, Any]) -> None:
    """Why KPIs with a value have no bounds, by reason; what counts the quarantine itself needs none."""
    from abaco_loans.kpi.result import COUNTS_QUARANTINE

    without: dict[str, list[str]] = {}
    for name, item in kpis.items():
        if item["value"] is not None and item["bound_reason"] not in ("", COUNTS_QUARANTINE):
            without.setdefault(item["bound_reason"], []).append(name)
    for reason, names in without.items():
        what = f"{len(names)} KPIs" if len(names) > _NAMED_MAX else ", ".join(names)
        click.echo(f"if quarantine came back, the range of {what} is not known: {show.plain(reason)}")


_NAMED_MAX = 3
# How a reason begins that is the tape's, not that of a row; and what stands in one that follows from another.
_LACKING, _FOLLOWS = "needs ", " is not computable: "
MAIN_KPIS = ("finance.outstanding", "risk.par_30", "risk.par_90", "risk.collection_rate", "growth.active_clients")


def print_segment(segments: dict[str, Any], segment: str) -> None:
    """The main KPIs by the values of one segment; small cells are suppressed."""
    if segment not in segments:
        raise UsageError(
            f"the tape has no segment {segment!r}",
            code="CLI-106",
            where="--by",
            hint=nearest(segment, segments) if segments else "no column of the tape is a dimension",
        )
    cells = segments[segment]
    names = [name for name in MAIN_KPIS if any(cell.get(name, {}).get("value") for cell in cells.values())]
    rows = [
        (show.plain(value), *(_segment_value(cell.get(name, {})) for name in names)) for value, cell in cells.items()
    ]
    click.echo()
    show.table((segment, *names), rows, right=range(1, 1 + len(names)))


def _segment_value(result: dict[str, Any]) -> str:
    if result.get("value") is None:
        return show.coloured(result.get("status", "not_computable"))
    return show.number(result["value"])
