"""``abaco runs``: what was run, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import print_run


@click.group()
def runs() -> None:
    """List runs, or show one."""


@runs.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@show.common
def list_runs(limit: int, workspace: Path | None, as_json: bool) -> None:
    """List runs, the latest first."""
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import open_records

    place = find_workspace(workspace, os.environ)
    with open_records(place) as records:
        found = records.reader.list(limit=limit)
    if as_json:
        show.print_json(
            [
                {
                    "run_id": item.run_id,
                    "status": item.status,
                    "as_of": item.as_of.isoformat(),
                    "tape": item.tape_path,
                    "layout": item.layout,
                    "release": item.release,
                    "definition": item.definition,
                    "attempt": item.attempt,
                    "started_at": item.started_at.isoformat(),
                    "finished_at": item.finished_at and item.finished_at.isoformat(),
                    "rows": None
                    if item.rows is None
                    else dict(zip(("in", "accepted", "quarantined", "duplicates"), item.rows.as_tuple(), strict=True)),
                }
                for item in found
            ]
        )
        return
    if not found:
        click.echo("no run yet; `abaco run TAPE` makes one")
        return
    show.table(
        ("run", "status", "as of", "tape", "rows", "quarantined", "definition", "release", "started"),
        [
            (
                item.run_id,
                show.coloured(item.status),
                item.as_of.isoformat(),
                item.tape_path,
                f"{item.rows.rows_in:,}" if item.rows else "-",
                f"{item.rows.quarantined:,}" if item.rows else "-",
                item.definition,
                item.release,
                item.started_at.isoformat(timespec="seconds"),
            )
            for item in found
        ],
        right=[4, 5],
    )


@runs.command("show")
@click.argument("run_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Show KPIs that this tape cannot answer, too.")
@click.option("--by", "segment", help="Show the main KPIs by a segment too, like product or region.")
@show.common
def show_run(run_id: str | None, everything: bool, segment: str | None, workspace: Path | None, as_json: bool) -> None:
    """Show run RUN_ID (or the latest) as `abaco run` did, after checking its files against their hashes."""
    from abaco_loans.operations.find_run import find_run, sound_folder
    from abaco_loans.operations.run_report import changes, record_document
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import open_records

    place = find_workspace(workspace, os.environ)
    with open_records(place) as records:
        record = find_run(records.reader, run_id)
        if record.status == "finished":
            sound_folder(place, record)
            document = record_document(record, place)
            moved = changes(record, records.reader, document)
    if record.status == "finished":
        if as_json:
            show.print_json(document)
        else:
            print_run(document, moved, everything=everything, segment=segment)
        return
    error = dict(record.error or {})
    if as_json:
        show.print_json(
            {
                "run_id": record.run_id,
                "status": record.status,
                "as_of": record.as_of.isoformat(),
                "tape": record.tape_path,
                "error": error,
            }
        )
        return
    click.echo(f"run {record.run_id}: {show.coloured(record.status)}, tape {show.plain(record.tape_path)}")
    for name in ("what", "where", "hint", "code"):
        if error.get(name):
            click.echo(f"  {name}: {show.plain(str(error[name]))}")


@runs.command("export")
@click.argument("run_id", required=False)
@click.option("--as", "form", default="xlsx", show_default=True, help="xlsx, md, or one that a package adds.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write [default: RUN_ID.FORM here].")
@show.common
def export_run(run_id: str | None, form: str, out: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Write run RUN_ID (or the latest finished one) in another form, like an Excel workbook."""
    from abaco_loans.operations.find_run import find_run, sound_folder
    from abaco_loans.operations.run_report import record_document
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.outputs.exports import export_run as write
    from abaco_loans.wiring import open_records

    place = find_workspace(workspace, os.environ)
    with open_records(place) as records:
        record = find_run(records.reader, run_id, finished=run_id is None)
    sound_folder(place, record)
    path = out or Path(f"{record.run_id}.{form}")
    write(record_document(record, place), form, path)
    if as_json:
        show.print_json({"run_id": record.run_id, "path": str(path), "form": form})
    else:
        click.echo(f"run {record.run_id} in {path}")
