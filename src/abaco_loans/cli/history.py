"""``abaco kpi history``: what was ever said of a KPI, as a series, or for one date as restatements."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import day
from abaco_loans.errors import UsageError
from abaco_loans.nearest import nearest

if TYPE_CHECKING:
    from abaco_loans.operations.kpi_history import KpiHistory
    from abaco_loans.operations.workspace import Workspace
    from abaco_loans.portfolio.series import Change
    from abaco_loans.records.runs import KpiRow, RunReader

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARKS_MAX = 60


@click.command()
@click.argument("kpi_id")
@click.option("--as-of", callback=day, help="Only this date: what was said of it when, and why that changed.")
@click.option("--segment", help="A cell of a segment, like product=factoring.")
@click.option("--every", type=click.Choice(["day", "week", "month"]), help="As a series, with changes and outliers.")
@click.option("--definition", help="Only values under it [default for a series: that of the latest run].")
@click.option("--release", help="Only values of it [default for a series: that of the latest run].")
@show.common
def history(
    kpi_id: str,
    as_of: date | None,
    segment: str | None,
    every: str | None,
    definition: str | None,
    release: str | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Show what was said of KPI_ID: everything, by date and then in order; as a series; or of one date, and why."""
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import in_production, open_records

    place = in_production(find_workspace(workspace, os.environ))
    name, value = _cell(segment)
    if as_of and every:
        raise UsageError(
            "--as-of is about one date, --every about many", code="CLI-107", where="--every", hint="give one of them"
        )
    asked = {"segment": name, "segment_value": value, "definition": definition, "release": release}
    with open_records(place) as records:
        if not records.reader.history(kpi_id):
            _check_known(kpi_id, place)
        if as_of or every:
            _show_history(records.reader, kpi_id, as_of, every, asked, as_json=as_json)
        else:
            rows = records.reader.history(kpi_id, segment=name, segment_value=value)
            wanted = [row for row in rows if definition in (None, row.definition) and release in (None, row.release)]
            _show_everything(f"{kpi_id} of {segment}" if segment else kpi_id, wanted, as_json=as_json)


def _check_known(kpi_id: str, place: Workspace) -> None:
    """Nothing was ever said of the KPI: is it one?"""
    names = [name for name in place.release_names() if place.release_kind(name) == "catalogue"]
    known = sorted({kpi.id for name in names for kpi in place.release(name).catalogue.kpis})
    if kpi_id not in known:
        raise UsageError(
            f"no release has a KPI {kpi_id!r}, and no run has said one",
            code="CLI-104",
            where=kpi_id,
            hint=nearest(kpi_id, known),
        )


def _cell(segment: str | None) -> tuple[str, str]:
    name, _, value = (segment or "").partition("=")
    if segment and not value:
        raise UsageError(
            "a cell is a segment and a value", code="CLI-105", where="--segment", hint="write it like product=factoring"
        )
    return name, value


def _show_history(
    reader: RunReader, kpi_id: str, as_of: date | None, every: str | None, asked: dict[str, Any], *, as_json: bool
) -> None:
    from abaco_loans.operations.kpi_history import kpi_history
    from abaco_loans.portfolio.series import Every

    found = kpi_history(reader, kpi_id, as_of=as_of, every=Every(every or Every.DAY), **asked)
    cell = {name: asked[name] for name in ("segment", "segment_value") if asked["segment"]}
    title = f"{kpi_id} of {'='.join(map(str, cell.values()))}" if cell else kpi_id
    if as_of and as_json:
        show.print_json({"kpi": kpi_id, **cell, "as_of": as_of, "said": [item.as_dict() for item in found.said]})
    elif as_of:
        _print_restatements(found, show.plain(f"{title} as of {as_of}"))
    elif as_json:
        show.print_json(
            {
                "kpi": kpi_id,
                **cell,
                "unit": found.unit,
                "definition": found.definition,
                "release": found.release,
                "left_out": [item.as_dict() for item in found.left_out],
                "series": [point.as_dict() for point in found.series],
            }
        )
    else:
        _print_series(found, show.plain(f"{title} by {every}"))


def _print_series(found: KpiHistory, title: str) -> None:
    """Title, shape, what is left out, and a line a date."""
    if found.series:
        click.echo(f"{title}, definition {found.definition}, release {found.release}")
        click.echo(sparkline([point.row.value for point in found.series]))
    for item in found.left_out:
        click.echo(
            click.style("left out: ", fg="yellow")
            + f"definition {item.definition}, release {item.release} ({item.rows:,} said)"
        )
    if not found.series:
        _nothing(title)
        return
    show.table(
        ("as of", found.unit, "status", "change month", "change quarter", "change year", "note"),
        [
            (
                point.row.as_of.isoformat(),
                show.number(point.row.value),
                show.coloured(point.row.status),
                *(_moved(moved, point.row) for moved in point.changes.values()),
                click.style(point.anomaly.words, fg="yellow")
                if point.anomaly and point.anomaly.flagged
                else show.plain(point.row.reason),
            )
            for point in found.series
        ],
        right=[1, 3, 4, 5],
        cut=False,
    )


def _print_restatements(found: KpiHistory, title: str) -> None:
    """A line for each value said of the date."""
    if not found.said:
        _nothing(title)
        return
    click.echo(f"{title}: said {len(found.said)} time{'s' * (len(found.said) > 1)}")
    show.table(
        ("recorded at", found.unit, "status", "change", "definition", "release", "run", "why"),
        [
            (
                item.row.recorded_at.isoformat(timespec="seconds"),
                show.number(item.row.value),
                show.coloured(item.row.status),
                _moved(item.change, item.row),
                item.row.definition,
                item.row.release,
                item.row.run_id,
                show.plain(", ".join(item.why)),
            )
            for item in found.said
        ],
        right=[1, 3],
        cut=False,
    )


def sparkline(values: Sequence[Decimal | None]) -> str:
    """The last 60 values as blocks between the lowest and the highest of them; a gap where there is none."""
    shown = values[-_SPARKS_MAX:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    top = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[round((value - low) * top / span) if span else top // 2] for value in shown
    )


def _moved(moved: Change | None, row: KpiRow) -> str:
    """A change with its sign, to the digits that the value is shown with; in brackets, relative."""
    if moved is None or row.value is None:
        return "-"
    digits = max(0, -int(row.value.as_tuple().exponent))
    text = f"{moved.absolute:+,.{digits}f}"
    return text if moved.relative is None else f"{text} ({moved.relative:+,.1%})"


def _nothing(title: str) -> None:
    click.echo(f"nothing has been said of {title}; `abaco kpi list` shows what there is, `abaco run TAPE` says it")


def _show_everything(title: str, rows: Sequence[KpiRow], *, as_json: bool) -> None:
    if as_json:
        show.print_json(
            [
                {
                    "as_of": row.as_of.isoformat(),
                    "recorded_at": row.recorded_at.isoformat(),
                    "run_id": row.run_id,
                    "value": None if row.value is None else str(row.value),
                    "value_exact": None if row.value_exact is None else str(row.value_exact),
                    "unit": row.unit,
                    "status": row.status,
                    "reason": row.reason,
                    "definition": row.definition,
                    "release": row.release,
                }
                for row in rows
            ]
        )
        return
    if not rows:
        _nothing(show.plain(title))
        return
    show.table(
        ("as of", rows[0].unit, "status", "definition", "release", "recorded at", "run"),
        [
            (
                row.as_of.isoformat(),
                show.number(row.value),
                show.coloured(row.status),
                row.definition,
                row.release,
                row.recorded_at.isoformat(timespec="seconds"),
                row.run_id,
            )
            for row in rows
        ],
        right=[1],
    )
