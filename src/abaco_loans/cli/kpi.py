"""``abaco kpi``: what the KPIs are, what they say, and why."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import click

from abaco_loans.cli import show
from abaco_loans.cli.history import history
from abaco_loans.cli.run import day
from abaco_loans.errors import UsageError
from abaco_loans.nearest import nearest


@click.group()
def kpi() -> None:
    """List, show and explain KPIs, and their history."""


@kpi.command("list")
@click.option("--department", help="Only those of one department.")
@click.option("--release", help="Release to read [default: the active one].")
@show.common
def list_kpis(department: str | None, release: str | None, workspace: Path | None, as_json: bool) -> None:
    """List the KPIs of the catalogue."""
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import in_production

    catalogue = in_production(find_workspace(workspace, os.environ)).release(release).catalogue
    departments = sorted({name for item in catalogue.kpis for name in item.departments})
    if department is not None and department not in departments:
        raise UsageError(
            f"no KPI is of a department {department!r}",
            code="CLI-110",
            where="--department",
            hint=nearest(department, departments),
        )
    chosen = [item for item in catalogue.kpis if department in (None, *item.departments)]
    if as_json:
        show.print_json(
            [
                {
                    "id": item.id,
                    "name": item.name,
                    "description": item.description,
                    "formula": item.formula.text,
                    "unit": item.unit,
                    "grain": item.grain.value,
                    "owner": item.owner,
                    "departments": list(item.departments),
                    "refresh": item.refresh,
                    "source": item.source,
                    "thresholds": item.thresholds and item.thresholds.as_dict(),
                }
                for item in chosen
            ]
        )
        return
    rows = [
        (
            item.id,
            item.name,
            item.unit,
            show.against(item.thresholds.as_dict() if item.thresholds else None),
            item.owner,
        )
        for item in chosen
    ]
    show.table(("KPI", "name", "unit", "warning / critical", "owner"), rows)


@kpi.command("show")
@click.argument("kpi_id")
@click.option("--run", "run_id", help="Run to look at [default: the latest].")
@show.common
def show_kpi(kpi_id: str, run_id: str | None, workspace: Path | None, as_json: bool) -> None:
    """Show KPI_ID of a run with everything that proves it: formula, components, rows, definition."""
    from abaco_loans.operations.find_run import published_kpis
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import in_production, open_records

    place = in_production(find_workspace(workspace, os.environ))
    with open_records(place) as records:
        record, document = published_kpis(place, records.reader, run_id)
    found = document["kpis"].get(kpi_id)
    if found is None:
        raise UsageError(
            f"run {record.run_id} (release {record.release}) has no KPI {kpi_id!r}",
            code="CLI-104",
            where=kpi_id,
            hint=nearest(kpi_id, document["kpis"]),
        )
    if as_json:
        show.print_json({"run_id": record.run_id, "as_of": document["as_of"], "id": kpi_id, **found})
        return
    value = show.number(found["value"], found["unit"])
    click.echo(f"{found['name']} ({kpi_id}): {value}  {show.verdict(found['status'], found['thresholds'])}")
    click.echo(f"  tape         {show.plain(record.tape_path)} ({record.layout})")
    _print_proof(found)
    click.echo(f"  definition   {_definition(document['definition'])}")
    click.echo(
        f"  as of        {document['as_of']}, run {record.run_id}, release {document['release']['name']}"
        f" (its meaning without mappings: {document['release']['meaning'][:12]})"
    )
    click.echo(f"  calculated   {record.finished_at:%Y-%m-%d %H:%M:%S} UTC")


def _print_proof(found: dict[str, Any]) -> None:
    click.echo(f"  exact        {found['value_exact'] or '-'}")
    if found["reason"] or found["held"]:
        click.echo(f"  note         {show.plain(found['reason'] or found['held'])}")
    click.echo(f"  formula      {' '.join(found['formula'].split())}")
    for name, value in found["components"].items():
        nulls = found["null_counts"].get(name)
        missing = f"   ({nulls:,} empty)" if nulls else ""
        click.echo(f"               {name} = {show.number(value)}{missing}")
    if found["rows_used"] is not None:
        click.echo(f"  rows used    {found['rows_used']:,}")
    if found["bound_reason"]:
        click.echo(f"  bounds       none: {show.plain(found['bound_reason'])}")
    elif found["low"] != found["high"]:
        click.echo(f"  bounds       {found['low']} .. {found['high']} if the quarantined rows came back")


def _definition(definition: dict[str, Any]) -> str:
    rest = ", ".join(
        f"{name} {value}" for name, value in definition.items() if name not in ("name", "version") and value is not None
    )
    return f"{definition['name']} version {definition['version']}: {rest}"


@kpi.command()
@click.argument("kpi_id")
@click.argument("tape", type=click.Path(path_type=Path, readable=False))
@click.option("--as-of", callback=day, help="Date to calculate at (YYYY-MM-DD) [default: the latest of the tape].")
@click.option("--release", help="Release to use [default: the active one].")
@click.option("--layout", help="bucketed, snapshot or servicing [default: recognised].")
@click.option("--mapping", help="Mapping to read the tape with [default: the one that fits].")
@show.common
def explain(
    kpi_id: str,
    tape: Path,
    as_of: date | None,
    release: str | None,
    layout: str | None,
    mapping: str | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Show KPI_ID of TAPE under every definition that the tape can bear, side by side. Publishes nothing."""
    from abaco_loans import wiring
    from abaco_loans.operations.explain_kpi import explain_kpi
    from abaco_loans.operations.workspace import find_workspace

    place = wiring.in_production(find_workspace(workspace, os.environ))
    tell = show.progress()
    try:
        found = explain_kpi(
            kpi_id,
            tape,
            wiring.run_tools(place, os.environ, tell),
            as_of=as_of,
            release=release,
            layout=layout,
            mapping=mapping,
        )
    finally:
        tell("")
    if as_json:
        show.print_json({"id": kpi_id, "tape": tape.name, "definitions": [item.as_dict() for item in found]})
        return
    loaded = place.release(release).catalogue.get(kpi_id)
    click.echo(f"{loaded.name} ({kpi_id}) of {show.plain(tape.name)}, as of {found[0].as_of}")
    click.echo(f"  {loaded.description}")
    click.echo(f"  formula: {' '.join(loaded.formula.text.split())}\n")
    components = list(dict.fromkeys(name for item in found if item.result for name in item.result.components))
    rows = []
    for item in found:
        shown = item.as_dict()
        status = str(shown.get("status", "not_computable"))
        values = item.result.components if item.result else {}
        rows.append(
            (
                item.definition.name,
                show.number(_text(shown.get("value"))),
                show.coloured(status),
                *(show.number(_text(values.get(name))) for name in components),
                show.plain(item.reason),
            )
        )
    show.table(("definition", loaded.unit, "status", *components, "why not"), rows, right=range(1, 3 + len(components)))
    click.echo("\nwhat differs:")
    for item in found:
        click.echo(f"  {_definition(item.definition.as_dict())}")


def _text(value: object) -> str | None:
    return None if value is None else str(value)


kpi.add_command(history)
