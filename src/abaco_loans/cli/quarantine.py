"""``abaco quarantine``: every refused row, with line, column, value and reason."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import click

from abaco_loans.cli import show


@click.command()
@click.argument("run_id", required=False)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many rows.")
@click.option("--code", help="Only rows refused with this code, like TAPE-202.")
@show.common
def quarantine(run_id: str | None, limit: int, code: str | None, workspace: Path | None, as_json: bool) -> None:
    """Show what run RUN_ID (or the latest) refused: counts by reason, then row by row."""
    from abaco_loans.operations.find_run import find_run, quarantine_rows
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import open_records

    place = find_workspace(workspace, os.environ)
    with open_records(place) as records:
        record = find_run(records.reader, run_id)
        counts = records.reader.quarantine_counts(record.run_id)
    with quarantine_rows(place, record) as rows:
        chosen = (row for row in rows if code in (None, row["code"]))
        shown = list(itertools.islice(chosen, limit))
    if as_json:
        show.print_json(
            {
                "run_id": record.run_id,
                "quarantined": record.rows.quarantined if record.rows else None,
                "counts": [
                    {"file": item.file, "column": item.column, "code": item.code, "rows": item.rows} for item in counts
                ],
                "rows": shown,
            }
        )
        return
    if not counts:
        click.echo(f"run {record.run_id} refused nothing")
        return
    refused = f"{record.rows.quarantined:,} of {record.rows.rows_in:,}" if record.rows else "some"
    click.echo(f"run {record.run_id} ({show.plain(record.tape_path)}) refused {refused} rows\n")
    show.table(
        ("file", "column", "code", "faults"),
        [(item.file, item.column or "(row)", item.code, f"{item.rows:,}") for item in counts],
        right=[3],
    )
    click.echo()
    show.table(
        ("file", "line", "column", "code", "value", "reason"),
        [
            (row["file"], row["line"], row["column_name"] or "(row)", row["code"], row["value"][:40], row["reason"])
            for row in shown
        ],
        right=[1],
    )
    total = sum(item.rows for item in counts)
    if len(shown) < total and code is None:
        click.echo(f"\n{len(shown):,} of {total:,} faults shown; --limit shows more")
