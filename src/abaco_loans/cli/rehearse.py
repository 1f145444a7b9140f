"""``abaco rehearse``: the whole migration on a copy of the workspace, in minutes."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show

if TYPE_CHECKING:
    from abaco_loans.operations.rehearse_acts import Asked, PhaseTold
    from abaco_loans.operations.workspace import Workspace

_FAILURES = ("0", "1", "2", "3", "4", "5", "shadow", "drill", "approvals", "watch")
_COLOURS = {"done": "green", "failed": "red", "not rehearsed": "yellow"}


@click.command()
@click.option("--to", default="v2", show_default=True, help="Release that shall become the active one.")
@click.option("--from", "baseline", help="Release that is active when it begins [default: the active or other one].")
@click.option("--tapes", type=click.IntRange(1, 100), help="How many of the last tapes [default: 3; --short: 2].")
@click.option(
    "--calculations", type=click.IntRange(10, 10_000_000), help="Of the stress [default: 45000; --short: 100]."
)
@click.option("--short", is_flag=True, help="Less stress, fewer tapes, the five checks at one checkpoint.")
@click.option("--fail", type=click.Choice(_FAILURES), help="Let that phase fail, to see what happens then.")
@click.option("--keep", type=click.Path(path_type=Path), help="Empty folder in which the copy stays.")
@show.common
def rehearse(
    to: str,
    baseline: str | None,
    tapes: int | None,
    calculations: int | None,
    short: bool,
    fail: str | None,
    keep: Path | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Rehearse the whole migration on a copy of the workspace, from staging to the retirement of the old release.

    In between: shadow runs, stress, a drill, approvals, the cutover, 24 watched hours, sign-off. Production stays as
    it is. Without tapes in the queue, a sampled book is taken. Exit code 1 when a phase fails; the old release is
    active then.
    """
    from abaco_loans.operations.rehearse_acts import Asked
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace, os.environ)
    asked = Asked(
        to=to,
        baseline=baseline or _other(place, to),
        tapes=tapes,
        calculations=calculations,
        short=short,
        fail=fail or "",
        keep=keep,
    )
    document = _rehearsed(place, asked, quiet=as_json)
    if as_json:
        show.print_json(document)
    if document["verdict"] != "passed":
        raise click.exceptions.Exit(1)


def _rehearsed(place: Workspace, asked: Asked, *, quiet: bool) -> dict[str, Any]:
    """Rehearse, and tell every phase as it ends, unless quiet; the document."""
    from abaco_loans import wiring
    from abaco_loans.operations.rehearse import rehearse as play

    gc.enable()  # this is a long command

    def tell(told: PhaseTold) -> None:
        words = f": {show.plain(told.words)}" if told.words else ""
        status = click.style(f"{told.status:13}", fg=_COLOURS.get(told.status))
        click.echo(f"  {status} {told.seconds:7.2f} s  {told.name}{words}")

    document = play(place, asked, wiring.rehearse_tools(os.environ), (lambda told: None) if quiet else tell)
    if not quiet:
        _print_end(document)
    return document


def _print_end(document: dict[str, Any]) -> None:
    marks = [f"{item['hour']} {item['status']}" for item in document["checkpoints"]]
    if marks:
        click.echo(f"  checkpoints by hour: {', '.join(marks)}")
    passed = document["verdict"] == "passed"
    failed = "" if passed else f" at {document['failed_phase']}"
    verdict = click.style(f"rehearsal {document['verdict']}{failed}", fg="green" if passed else "red")
    click.echo(f"{verdict}: {document['active_release']} is active in the copy; production was not touched")
    if document["kept"]:
        click.echo(f"the copy is in {document['kept']}")
        if os.environ.get("ABACO_RECORDS_URL"):
            click.echo("unset ABACO_RECORDS_URL before you work in it: its records are its own")


def _other(place: Workspace, to: str) -> str:
    """The release to begin with: the active one, or where that is the new one already, the only other."""
    from abaco_loans.errors import UsageError
    from abaco_loans.wiring import in_production

    active = in_production(place).settings.release
    others = [name for name in place.release_names() if name != to]
    if active != to:
        return active
    if len(others) == 1:
        return others[0]
    raise UsageError(
        "which release is active when the rehearsal begins is not said",
        code="CUT-112",
        where="--from",
        hint=f"give --from {' or '.join(others)}" if others else "make a second release first",
    )
