"""``abaco submit``: tapes into the queue."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import day


@click.command()
@click.argument("tapes", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--as-of", callback=day, help="Date to calculate at (YYYY-MM-DD) [default: the latest of each tape].")
@show.common
def submit(tapes: tuple[Path, ...], as_of: date | None, workspace: Path | None, as_json: bool) -> None:
    """Put TAPES (files, or folders of servicing extracts) into the queue; `abaco worker` runs them.

    A private copy is kept first: what is printed here is not lost. The same tape and date again is the same job.
    """
    from abaco_loans import wiring
    from abaco_loans.account import account
    from abaco_loans.clock import SystemClock
    from abaco_loans.operations.submit_tape import job_document, submit_tape
    from abaco_loans.operations.workspace import find_workspace

    place, clock = find_workspace(workspace, os.environ), SystemClock()
    who = f"abaco submit by {account()}"
    documents = []
    with wiring.open_records(place, clock) as records:
        for tape in tapes:
            done = submit_tape(place, tape.resolve(), records, as_of=as_of, clock=clock, who=who)
            documents.append({**job_document(done.job), "is_new": done.is_new})
            if not as_json:
                state = "new" if done.is_new else f"known, {done.job.status}"
                click.echo(f"{done.job.job_id}  {show.plain(tape.name)} ({state})")
    if as_json:
        show.print_json(documents)
