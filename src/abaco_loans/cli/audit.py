"""``abaco audit``: prove that the ledger is what was written."""

from __future__ import annotations

import os
from pathlib import Path

import click

from abaco_loans.cli import show


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
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("audit.jsonl"), show_default=True, help="File to write."
)
@show.common
def export(out: Path, workspace: Path | None, as_json: bool) -> None:
    """Write the ledger with its anchors to a file that scripts/verify_audit.py checks with Python alone."""
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.records.anchors import export as write
    from abaco_loans.records.anchors import read_anchors
    from abaco_loans.wiring import open_records

    place = find_workspace(workspace, os.environ)
    anchors = read_anchors(place.anchors)
    with open_records(place) as records:
        count = write(out, records.events(), anchors)
    if as_json:
        show.print_json({"path": str(out), "events": count, "anchors": len(anchors.anchors)})
    else:
        click.echo(f"{count:,} events and {len(anchors.anchors):,} anchors in {out}")
        click.echo(f"an auditor checks it with Python alone: python3 verify_audit.py {out}")
        click.echo("(verify_audit.py stands in the folder scripts/ of the source)")
