"""``abaco audit``: prove that the ledger is what was written."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abaco_loans.cli import show

if TYPE_CHECKING:
    from abaco_loans.operations.workspace import Workspace


@click.group()
def audit() -> None:
    """Verify or export the audit ledger."""


@audit.command()
@click.option("--trusted-key", default="", help="Public key that anchors must be signed with, kept elsewhere.")
@show.common
def verify(trusted_key: str, workspace: Path | None, as_json: bool) -> None:
    """Check every event, the chain, the anchors and the records. Exit code 1 when anything was changed."""
    from abaco_loans.operations.verify_audit import verify_audit
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import open_records

    place = find_workspace(workspace, os.environ)
    with open_records(place) as records:
        verdict = verify_audit(records, place, trusted_key=trusted_key)
    if as_json:
        show.print_json(verdict.as_dict())
    else:
        word = click.style("good", fg="green") if verdict.ok else click.style("BAD", fg="red")
        click.echo(f"{word}: {verdict.events:,} events, {verdict.anchors:,} anchors, head {verdict.head[:16]}")
        if verdict.message:
            click.echo(f"  {show.plain(verdict.message)}")
        if not verdict.ok:
            place_text = f" at event {verdict.first_bad_seq}" if verdict.first_bad_seq else ""
            click.echo(f"  kind: {verdict.kind}{place_text}; see docs/audit.md for what each kind means")
        for text in (*verdict.faults, *verdict.warnings):
            click.echo(f"  note: {show.plain(text)}")
    if not verdict.ok:
        raise click.exceptions.Exit(1)


@audit.command()
@click.option("--out", type=click.Path(path_type=Path), help="File to write the ledger to [default: audit.jsonl].")
@click.option("--pack", type=click.Path(path_type=Path), help="Write an evidence pack instead, to this .zip file.")
@click.option("--cutover", "cutover_id", default="", help="Of the pack: only what speaks of this cutover.")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), help="Of the pack: only what ended on this day (UTC) or later."
)
@show.common
def export(
    out: Path | None,
    pack: Path | None,
    cutover_id: str,
    since: datetime | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Write the ledger with its anchors to a file that scripts/verify_audit.py checks with Python alone.

    With --pack, a zip for an auditor: ledger, manifests, reports, release files and that script; no tapes, no loan
    rows, no keys and no passwords.
    """
    from abaco_loans.operations.workspace import find_workspace

    if pack is None and (cutover_id or since):
        raise click.UsageError("--cutover and --since say what a pack is about: give --pack FILE.zip")
    if pack is not None and (out or (cutover_id and since)):
        raise click.UsageError("give either --out or --pack, and of --cutover and --since one")
    place = find_workspace(workspace, os.environ)
    if pack is None:
        _ledger(place, out or Path("audit.jsonl"), as_json)
    else:
        _pack(place, pack, cutover_id, since.date() if since else None, as_json)


def _ledger(place: Workspace, out: Path, as_json: bool) -> None:
    from abaco_loans.records.anchors import export as write
    from abaco_loans.records.anchors import read_anchors
    from abaco_loans.wiring import open_records

    anchors = read_anchors(place.anchors)
    with open_records(place) as records:
        count = write(out, records.events(), anchors)
    if as_json:
        show.print_json({"path": str(out), "events": count, "anchors": len(anchors.anchors)})
    else:
        click.echo(f"{count:,} events and {len(anchors.anchors):,} anchors in {out}")
        click.echo(f"an auditor checks it with Python alone: python3 verify_audit.py {out}")
        click.echo("(verify_audit.py stands in the folder scripts/ of the source)")


def _pack(place: Workspace, out: Path, cutover_id: str, since: date | None, as_json: bool) -> None:
    from abaco_loans.operations.evidence_pack import Scope, write_pack
    from abaco_loans.wiring import open_records

    with open_records(place) as records:
        made = write_pack(records, place, out, Scope(cutover_id=cutover_id, since=since))
    if as_json:
        show.print_json(made.as_dict())
        return
    click.echo(f"{made.files:,} files, {made.events:,} events and {made.anchors:,} anchors in {out}")
    click.echo(f"SHA-256 {made.sha256}")
    if not made.signed:
        click.echo("not signed: the key of the anchors is not here, or there is no anchor yet")
    for name, why in sorted(made.left_out.items()):
        click.echo(f"left out: {show.plain(name)}: {show.plain(why)}")
    click.echo(f"an auditor checks it with Python alone: python3 -I verify_audit.py {out} --key KEY (README.md in it)")
