"""``abaco validate``: is production right, whole, fast enough, strict enough, and can it be proven?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abaco_loans.cli import show

if TYPE_CHECKING:
    from abaco_loans.watch.check import Report

_COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "red", "UNKNOWN": "red"}


@click.command()
@show.common
def validate(workspace: Path | None, as_json: bool) -> None:
    """Check production, and write production_validation_report.json into the workspace.

    Known answers go through the active release, the last run is calculated once more, published files are hashed, bad
    tapes must be refused, the ledger is verified. Exit code 0 only when all of it passes, else 1.
    """
    from abaco_loans import wiring
    from abaco_loans.operations.validate_production import REPORT, validate_production
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.watch.check import Status

    place = wiring.in_production(find_workspace(workspace, os.environ))
    tell = show.progress()
    try:
        report = validate_production(wiring.validate_tools(place, os.environ, tell))
    finally:
        tell("")
    if as_json:
        show.print_json(report.as_dict())
    else:
        _print(report)
        click.echo(f"written to {place.root / REPORT}")
    if report.status is not Status.PASS:
        raise click.exceptions.Exit(1)


def _print(report: Report) -> None:
    """A row for every part, then the verdict."""
    rows = [
        (check.name if number == 0 else "", item.name, _coloured(item.status), item.words)
        for check in report.checks
        for number, item in enumerate(check.subchecks)
    ]
    show.table(("check", "part", "status", "finding"), rows, cut=False)
    said = ", ".join(f"{check.name} {check.status.value}" for check in report.checks)
    click.echo(f"\n{_coloured(report.status)}: release {report.release}: {said}")


def _coloured(status: str) -> str:
    word = "n/a" if status == "NOT_APPLICABLE" else str(status)
    return click.style(word, fg=_COLOURS.get(status, "bright_black"))
