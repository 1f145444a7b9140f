"""``abaco cutover`` and ``abaco rollback``: production that changes without losing anything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show

if TYPE_CHECKING:
    from abaco_loans.operations.carry_out import Told
    from abaco_loans.operations.workspace import Workspace
    from abaco_loans.records.cutovers import CutoverRecord

_COLOURS = {"done": "green", "failed": "red", "held": "yellow", "undone": "yellow", "started": "cyan"}
_ENDS = {"completed": "green", "rolled_back": "yellow", "stopped": "red", "held": "yellow"}


@click.group()
def cutover() -> None:
    """Change the release of production: plan, approve, start; resume or abort it at any moment."""


@cutover.command()
@click.option("--to", "to", required=True, help="Release that shall become the active one.")
@show.common
def plan(to: str, workspace: Path | None, as_json: bool) -> None:
    """Plan a cutover: its steps, what each must leave as evidence, what would block now, and the plan's hash."""
    from abaco_loans import wiring
    from abaco_loans.account import account
    from abaco_loans.operations.cut_over import dry_run
    from abaco_loans.operations.plan_cutover import plan_cutover

    place = _place(workspace)
    given = wiring.cutover_tools(place, os.environ, lambda told: None)
    with given.tools.open_records() as records:
        record = plan_cutover(to, account(), given.tools, records)
    _tell_plan(record, dry_run(record.cutover_id, given), as_json=as_json)


def _tell_plan(record: CutoverRecord, said: list[tuple[str, bool | None, str]], *, as_json: bool) -> None:
    blocks = [(name, words) for name, passed, words in said if passed is not True]
    if as_json:
        import json

        document = json.loads(record.plan)
        told = [{"step": name, "words": words} for name, words in blocks]
        show.print_json({"plan": record.cutover_id, "hash": record.plan_hash, "blocks": told, "steps": document})
        return
    click.echo(f"plan {record.cutover_id}: {record.from_release} → {record.to_release}, hash {record.plan_hash[:16]}")
    for name, passed, words in said:
        mark = click.style("unknown", fg="yellow")
        if passed is not None:
            mark = click.style("ok     ", fg="green") if passed else click.style("BLOCKS ", fg="red")
        click.echo(f"  {mark} {name}{': ' + show.plain(words) if words else ''}")
    click.echo(f"next: four people approve it: abaco cutover approve {record.cutover_id} --as ops|finance|...")


@cutover.command()
@click.argument("plan_id")
@click.option(
    "--as",
    "role",
    required=True,
    type=click.Choice(["ops", "finance", "security", "governance"]),
    help="In which of the four roles.",
)
@click.option(
    "--token", type=click.Path(path_type=Path, exists=True), help="A signed approval instead of this account."
)
@show.common
def approve(plan_id: str, role: str, token: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Approve PLAN_ID as the account that is logged in, or by a signed token. Exit code 1: it does not count."""
    from abaco_loans import wiring
    from abaco_loans.account import account
    from abaco_loans.operations.plan_cutover import approve_plan
    from abaco_loans.releases.approval import Role

    place = _place(workspace)
    given = wiring.cutover_tools(place, os.environ, lambda told: None)
    text = token.read_text(encoding="utf-8") if token else None
    with given.tools.open_records() as records:
        recorded, _ = approve_plan(plan_id, Role(role), account(), given.tools, records, token=text)
    given.tools.anchor()
    if as_json:
        show.print_json(
            {
                "plan": plan_id,
                "role": role,
                "person": recorded.person,
                "verified": recorded.verified,
                "reason": recorded.reason,
                "expires_at": recorded.expires_at.isoformat(),
            }
        )
    elif recorded.verified:
        click.echo(
            f"{show.plain(recorded.person)} approves {plan_id} as {role}, until {recorded.expires_at:%F %H:%M} UTC"
        )
    else:
        click.echo(f"recorded as not verified, and it blocks: {show.plain(recorded.reason)}")
    if not recorded.verified:
        raise click.exceptions.Exit(1)


@cutover.command()
@click.argument("plan_id")
@click.option("--dry-run", "dry", is_flag=True, help="Walk through everything that changes nothing.")
@click.option("--no-wait", is_flag=True, help="Leave a step that is held to `abaco cutover resume`.")
@show.common
def start(plan_id: str, dry: bool, no_wait: bool, workspace: Path | None, as_json: bool) -> None:
    """Carry PLAN_ID out: six phases, each checked, timed and recorded. Exit code 1 unless the new release is active."""
    from abaco_loans.operations.cut_over import dry_run, start_cutover

    place = _place(workspace)
    if dry:
        from abaco_loans import wiring

        given = wiring.cutover_tools(place, os.environ, lambda told: None)
        with given.tools.open_records() as records:
            record = records.cutover_reader.get(plan_id)
        said = dry_run(plan_id, given)
        if record is not None:
            _tell_plan(record, said, as_json=as_json)
        if not all(passed for _, passed, _ in said):
            raise click.exceptions.Exit(1)
        return
    _carry(place, lambda given: start_cutover(plan_id, given), as_json=as_json, waits=not no_wait)


@cutover.command()
@click.argument("plan_id", required=False)
@click.option("--no-wait", is_flag=True, help="Leave a step that is held to the next `resume`.")
@show.common
def resume(plan_id: str | None, no_wait: bool, workspace: Path | None, as_json: bool) -> None:
    """Go on with a cutover or rollback that is held, or whose process died."""
    from abaco_loans.operations.cut_over import resume_cutover

    _carry(_place(workspace), lambda given: resume_cutover(plan_id, given), as_json=as_json, waits=not no_wait)


@cutover.command()
@click.argument("plan_id", required=False)
@show.common
def abort(plan_id: str | None, workspace: Path | None, as_json: bool) -> None:
    """Stop a cutover: before phase 3 nothing has changed, after that the old release comes back."""
    from abaco_loans.operations.cut_over import abort_cutover

    _carry(_place(workspace), lambda given: abort_cutover(plan_id, given), as_json=as_json, waits=True, asked="abort")


@cutover.command()
@click.argument("plan_id", required=False)
@show.common
def status(plan_id: str | None, workspace: Path | None, as_json: bool) -> None:
    """Show which release is active, and how a plan stands (default: the one under way, or the latest)."""
    from abaco_loans import wiring
    from abaco_loans.operations.cutover_status import status_document

    place = _place(workspace)
    given = wiring.cutover_tools(place, os.environ, lambda told: None)
    with given.tools.open_records() as records:
        document = status_document(plan_id, given.tools, records)
    if as_json:
        show.print_json(document)
        return
    click.echo(f"active: {document['active_release'] or 'none yet'} (epoch {document['epoch']})")
    if document["held_by"]:
        click.echo(click.style(f"held by {document['held_by']}: no job is taken", fg="yellow"))
    if document["plan"] is None:
        click.echo("no cutover was planned yet: abaco cutover plan --to RELEASE")
        return
    found = document["plan"]
    click.echo(f"{found['kind']} {found['id']}: {found['from']} → {found['to']}, {_end(found['status'])}")
    for item in found["approvals"]:
        why = "" if item["counts"] else f" (does not count: {show.plain(item['reason'])})"
        click.echo(f"  approved as {item['role']}: {show.plain(item['person'])}{why}")
    if found["missing_approvals"]:
        click.echo(f"  approvals missing: {', '.join(found['missing_approvals'])}")
    for step in found["steps"]:
        seconds = "" if step["seconds"] is None else f"{step['seconds']:>8} s"
        words = f"  {show.plain(step['words'])}" if step["words"] else ""
        click.echo(f"  phase {step['phase']}  {_coloured(step['status'])} {seconds:>11}  {step['name']}{words}")


@click.command()
@click.option("--reason", default="", help="Why, for the incident report.")
@click.option("--drill", is_flag=True, help="Do all of it on a copy of production beside it, and time it.")
@click.option("--release", help="With --drill: the release that would be active [default: the one planned].")
@show.common
def rollback(reason: str, drill: bool, release: str | None, workspace: Path | None, as_json: bool) -> None:
    """Go back to the release before the active one: nothing is lost, tapes that arrived since run again.

    Exit code 1 unless the old release serves everything again.
    """
    from abaco_loans.account import account
    from abaco_loans.operations.cut_over import roll_back

    place = _place(workspace)
    if drill:
        _drill(place, release, as_json=as_json)
        return
    _carry(place, lambda given: roll_back(reason, account(), given), as_json=as_json, waits=True, asked="rollback")


def _drill(place: Workspace, release: str | None, *, as_json: bool) -> None:
    from abaco_loans import wiring
    from abaco_loans.account import account
    from abaco_loans.operations.drill_rollback import drill_rollback

    lines = _Lines(place, quiet=as_json)
    document = drill_rollback(place, wiring.drill_tools(os.environ, lines.tell), account(), release)
    if as_json:
        show.print_json(document)
    else:
        word = click.style("passed", fg="green") if document["passed"] else click.style("FAILED", fg="red")
        click.echo(f"drill {document['drill_id']} {word}: {document['words']}, {document['seconds']} s")
    if not document["passed"]:
        raise click.exceptions.Exit(1)


class _Lines:
    """What goes by on the screen and into ``logs/cutover_<time>.log``."""

    def __init__(self, place: Workspace, *, quiet: bool) -> None:
        self._place, self._quiet, self._phase = place, quiet, -1
        self._log: Path | None = None

    def tell(self, told: Told) -> None:
        """A line."""
        from abaco_loans.operations.incident_report import write_cutover_log
        from abaco_loans.releases.plan import Phase

        self._log = write_cutover_log(self._place, self._log, told)
        if self._quiet or told.status == "started":
            return
        phase = told.step.phase
        if phase != self._phase:
            self._phase = phase
            click.echo(f"{phase.words}:" if phase is Phase.WAY_BACK else f"phase {phase:d}: {phase.words}")
        seconds = f"{told.seconds:7.2f} s" if told.seconds is not None else ""
        words = f": {show.plain(told.words)}" if told.words else ""
        click.echo(f"  {_coloured(told.status)} {seconds}  {told.step.name}{words}")


def _carry(
    place: Workspace, act: Callable[[Any], CutoverRecord], *, as_json: bool, waits: bool, asked: str = ""
) -> None:
    from abaco_loans import wiring
    from abaco_loans.operations.cutover_status import status_document

    lines = _Lines(place, quiet=as_json)
    given = wiring.cutover_tools(place, os.environ, lines.tell, wait=time.sleep if waits else None)
    record = act(given)
    with given.tools.open_records() as records:
        document = status_document(record.cutover_id, given.tools, records)
    found = document["plan"]
    if as_json:
        show.print_json(document)
    else:
        idle = f"; no job was taken for {found['inactive_s']} s" if found["inactive_s"] else ""
        click.echo(f"{_end(record.status)}: {document['active_release']} is active{idle}")
        if record.status == "held":
            click.echo(f"go on with `abaco cutover resume {record.cutover_id}`, or back with `abaco cutover abort`")
    good = {"": ("completed",), "abort": ("stopped", "rolled_back", "completed"), "rollback": ("completed",)}[asked]
    if record.status not in good:
        raise click.exceptions.Exit(1)


def _coloured(word: str) -> str:
    return click.style(f"{word:8}", fg=_COLOURS.get(word))


def _end(word: str) -> str:
    return click.style(word.replace("_", " "), fg=_ENDS.get(word))


def _place(workspace: Path | None) -> Workspace:
    from abaco_loans.operations.workspace import find_workspace

    return find_workspace(workspace, os.environ)
