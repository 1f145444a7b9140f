"""``abaco worker``: the queue worked, and how it stands."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show

if TYPE_CHECKING:
    from abaco_loans.operations.work_queue import Worker


@click.group(invoke_without_command=True)
@click.option("--once", is_flag=True, help="Look at the inbox once and take at most one job.")
@click.option("--until-idle", is_flag=True, help="Work until every job has ended, then leave.")
@click.option(
    "--poll", type=click.FloatRange(0.05, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@show.common
@click.pass_context
def worker(
    ctx: click.Context, once: bool, until_idle: bool, poll: float, workspace: Path | None, as_json: bool
) -> None:
    """Take tapes from inbox and queue and run the active release on each, until told to stop.

    SIGTERM and SIGINT drain: the job at hand is finished, no other is taken; a second one gives it back at once.
    Several workers may work at once.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = workspace
        return
    from abaco_loans import wiring
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace, os.environ)
    tell = (lambda text: None) if as_json else (lambda text: click.echo(show.plain(text)))
    made = wiring.queue_worker(place, os.environ, tell)

    def drain(number: int, _: object) -> None:
        signal.signal(number, signal.default_int_handler)  # asked twice: give the job back at once
        made.stop()

    before = {number: signal.signal(number, drain) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        document = _once(made) if once else {"jobs": made.work(until_idle=until_idle, poll_s=poll)}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if as_json:
        show.print_json(document)
    elif not any(document["jobs"].values()):
        click.echo("no job was taken")


def _once(made: Worker) -> dict[str, Any]:
    look, outcome = made.look(), made.work_once()
    jobs = {outcome.end: 1} if outcome else {}
    return {"submitted": len(look.jobs), "refused": len(look.refused), "jobs": jobs}


@worker.command()
@show.common
@click.pass_obj
def status(given: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Which release is active, how many jobs there are, who has which, and what failed."""
    from abaco_loans import wiring
    from abaco_loans.operations.work_queue import production_document
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace or given, os.environ)
    with wiring.open_records(place) as records:
        document = production_document(records.production_reader)
    if as_json:
        show.print_json(document)
        return
    active = document["active_release"] or f"none yet; the first job makes it {place.settings.release}"
    held = f"; held by cutover {document['held_by']}: no job is taken" if document["held_by"] else ""
    click.echo(f"active release: {active}{held}")
    click.echo("jobs: " + ", ".join(f"{count:,} {name}" for name, count in document["counts"].items()))
    if document["oldest_queued_at"]:
        click.echo(f"the oldest in the queue waits since {document['oldest_queued_at']}")
    if document["at_work"]:
        click.echo()
        show.table(
            ("at work", "tape", "by", "lease until", "attempt"),
            [
                (item["job_id"], item["tape"], item["owner"], item["lease_until"], str(item["attempts"]))
                for item in document["at_work"]
            ],
        )
    if document["failed"]:
        click.echo()
        show.table(
            ("failed", "tape", "code", "why"),
            [
                (item["job_id"], item["tape"], item["error"]["code"], item["error"]["what"])
                for item in document["failed"]
            ],
        )
