"""``abaco panel`` and ``abaco view``: the book over time, and what people ask of it."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import day
from abaco_loans.errors import UsageError

_MONTH = re.compile(r"(\d{4})-(\d{2})")


def month_or_day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """A month (``2025-11``: its first day for ``--from``, its last for ``--to``) or a day."""
    from abaco_loans.portfolio.dates import month_end

    found = _MONTH.fullmatch(value or "")
    if not found:
        return day(ctx, param, value)
    try:
        first = date(int(found[1]), int(found[2]), 1)
    except ValueError:
        raise UsageError(
            f"{value!r} is not a month", code="CLI-103", where=param.opts[0], hint="write it like 2025-11"
        ) from None
    return month_end(first) if param.name == "end" else first


def _days(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[date, ...]:
    return tuple(found for value in values if (found := day(ctx, param, value)))


@click.command()
@click.argument("tapes", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--definition", help="Definition to use [default: that of the layout].")
@click.option("--from", "start", callback=month_or_day, help="First month or day [default: the first disbursement].")
@click.option("--to", "end", callback=month_or_day, help="Last month or day [default: the last whole month].")
@click.option("--every", type=click.Choice(["month", "week", "day"]), default="month", help="How often [month].")
@click.option("--at", multiple=True, callback=_days, help="A date to look at, instead of the others; may be repeated.")
@click.option("--by", multiple=True, help="Compute the KPIs by this segment, too; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Write every column to this .parquet or .csv file, too.")
@click.option("--release", help="Release to use [default: the active one].")
@click.option("--layout", help="snapshot or servicing [default: recognised from the header].")
@click.option("--mapping", help="Mapping to read the tapes with [default: the one that fits].")
@show.common
def panel(tapes: tuple[Path, ...], workspace: Path | None, as_json: bool, **options: Any) -> None:
    """Follow every loan of TAPES from date to date: states, flows, checks, and every KPI at every date.

    TAPES is the folder of one servicing extract, or one or more loan snapshots, which join into one book. The panel
    is kept in the workspace: `abaco view`, `abaco kpi history` and `abaco report book` read the latest one.
    """
    from abaco_loans import wiring
    from abaco_loans.operations.build_panel import Span
    from abaco_loans.operations.publish_panel import PanelRequest, publish_panel
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.portfolio.dates import Every

    place = wiring.in_production(find_workspace(workspace, os.environ))
    start, end, every, at = (options.pop(name) for name in ("start", "end", "every", "at"))
    span = Span(start=start, end=end, every=Every(every), at=at)
    tell = show.progress()
    try:
        outcome = publish_panel(
            PanelRequest(tapes=tapes, span=span, **options), wiring.run_tools(place, os.environ, tell)
        )
    finally:
        tell("")
    folder = str(place.outputs / str(outcome.record.output_folder))
    document = {**outcome.document, "earlier": outcome.earlier, "folder": folder}
    if as_json:
        show.print_json(document)
    else:
        print_panel(document, options["out"])


def print_panel(document: dict[str, Any], out: Path | None) -> None:
    """The panel as a person reads it: what it spans, what was checked, what is odd."""
    rows, dates = document["rows"], document["dates"]
    found = " (found: built before)" if document["earlier"] else ""
    click.echo(
        f"{show.plain(document['tape']['name'])}: {document['tape']['layout']}, {len(dates)} dates from {dates[0]} to"
        f" {dates[-1]}, definition {document['definition']['name']}, release {document['release']['name']}{found}"
    )
    click.echo(
        f"rows: {rows['in']:,} in = {rows['accepted']:,} accepted + {rows['quarantined']:,} quarantined"
        f" + {rows['duplicates']:,} duplicates\n"
    )
    show.table(
        ("check", "", "rows", f"amount {document['currency']}", "code"),
        [
            (
                item["text"],
                click.style(item["status"].replace("_", " "), fg=_COLOUR[item["status"]]),
                "-" if item["count"] is None else f"{item['count']:,}",
                show.number(item["amount"]),
                item["code"],
            )
            for item in document["checks"]
        ],
        right=[2, 3],
    )
    click.echo()
    for warning in document["warnings"]:
        show.note(warning)
    click.echo(f"panel {document['panel_id']}; files in {document['folder']}")
    if out:
        click.echo(f"every column in {out}")
    click.echo("next: `abaco view ageing`, `abaco kpi history risk.par_30 --every month`, `abaco report book`")


_COLOUR = {"passed": "green", "failed": "red", "not_computable": "bright_black"}


@click.command()
@click.argument("name", required=False)
@click.option("--by", help="Segment to split by, like product or region.")
@click.option("--window", type=click.IntRange(1, 120), default=12, show_default=True, help="Periods of an average.")
@click.option("--horizon", type=click.IntRange(1, 60), default=1, show_default=True, help="Periods ahead (cures).")
@click.option("--last", type=click.IntRange(1), help="Show only the last so many dates.")
@click.option("--panel", "panel_id", help="Panel to read [default: the latest].")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to this .csv file instead.")
@show.common
def view(
    name: str | None,
    by: str | None,
    window: int,
    horizon: int,
    last: int | None,
    panel_id: str | None,
    out: Path | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Show the view NAME of the latest panel; without a NAME, list the views."""
    from abaco_loans.operations.show_view import find_view, open_panel, show_view

    if name is None:
        list_views(as_json=as_json)
        return
    chosen = find_view(name)
    if out is not None and out.suffix != ".csv":
        raise UsageError(f"{out.name} is no .csv file", code="PAN-104", where="--out", hint="write it to a .csv file")
    from abaco_loans import wiring
    from abaco_loans.operations.workspace import find_workspace

    place = wiring.in_production(find_workspace(workspace, os.environ))
    with open_panel(wiring.run_tools(place, os.environ, lambda text: None), panel_id) as opened:
        table = show_view(chosen, opened.asked(by, window, horizon))
        document = {
            "panel_id": opened.record.run_id,
            "definition": opened.document["definition"],
            "currency": opened.document["currency"],
            "policy": opened.policy.digest(),
        }
    names = [column.name for column in table.columns]
    rows = _last(table.rows, names, last)
    columns = [{"name": c.name, "unit": str(c.unit), "text": c.text} for c in table.columns]
    if as_json:
        shown = [dict(zip(names, map(_text, row), strict=True)) for row in rows]
        document |= {"view": chosen.name, "by": by, "restricted": chosen.restricted, "columns": columns}
        show.print_json({**document, "rows": shown, "notes": table.notes})
    elif out:
        _write(out, names, rows)
        click.echo(f"{len(rows):,} rows in {out}")
    else:
        click.echo(f"{table.title}, {document['currency']}, definition {document['definition']['name']}\n")
        right = [index for index, c in enumerate(table.columns) if str(c.unit) not in ("text", "date")]
        cells = [[_shown(v, str(c.unit)) for v, c in zip(row, table.columns, strict=True)] for row in rows]
        show.table(names, cells, right=right)
        for text in (*table.notes, chosen.text):
            click.echo(click.style("note: ", fg="yellow") + text)
        if chosen.restricted:
            click.echo(click.style("restricted: ", fg="red") + "this table names customers; do not share it")


def list_views(*, as_json: bool) -> None:
    """The views that there are."""
    from abaco_loans.portfolio.views import VIEWS

    if as_json:
        show.print_json([{"name": v.name, "title": v.title, "text": v.text} for v in VIEWS.values()])
        return
    show.table(("view", "shows"), [(v.name, v.title) for v in VIEWS.values()])


def _last(rows: Sequence[Sequence[Any]], names: list[str], last: int | None) -> Sequence[Sequence[Any]]:
    if last is None or "as_of" not in names:
        return rows
    place = names.index("as_of")
    kept = sorted({row[place] for row in rows})[-last:]
    return [row for row in rows if row[place] in kept]


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)


def _shown(value: Any, unit: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        places = {"%": 2, "ratio": 4, "amount": 2}.get(unit, 1)
        return show.number(round(value, places) + 0)  # + 0: no sign on a zero
    return f"{value:,}" if isinstance(value, int) and unit == "count" else show.plain(str(value))


def _write(out: Path, names: list[str], rows: Sequence[Sequence[Any]]) -> None:
    from abaco_loans.outputs.cells import safe_text
    from abaco_loans.outputs.publish import world

    with world(out), out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([safe_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
