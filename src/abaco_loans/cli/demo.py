"""``abaco demo``: the whole story on a synthetic book, in under a minute."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import print_run, run_once


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("abaco-demo"))
@click.option("--no-rehearsal", is_flag=True, help="Leave out the rehearsal of a migration at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def demo(folder: Path, no_rehearsal: bool, as_json: bool) -> None:
    """Make a workspace in FOLDER, sample a book, run its tapes, show the numbers, and say what to try next.

    It ends with a short rehearsal: on a copy, the new release takes over from an old report, and is watched for a day.
    """
    from abaco_loans.operations.verify_audit import verify_audit
    from abaco_loans.operations.workspace import make_workspace
    from abaco_loans.operations.write_sample import write_sample
    from abaco_loans.sample import SampleSpec
    from abaco_loans.wiring import open_records

    say = (lambda text: None) if as_json else _say
    workspace = make_workspace(folder, os.environ)
    say(f"1. a workspace in {folder}")
    tapes = folder / "tapes"
    summary = write_sample(SampleSpec(dirty_share=0.01), tapes)
    say(
        f"2. a synthetic book in {tapes}: {summary.loans:,} loans, {summary.open_loans:,} open on {summary.end},"
        " one row in a hundred spoiled on purpose"
    )
    documents = {}
    for number, (name, text) in enumerate(
        (
            ("servicing", "loans, schedules and transactions of a servicing system, rebuilt loan by loan"),
            ("snapshot.csv", "one row a loan, with balance and days past due"),
            ("bucketed.csv", "amounts already in buckets of days past due"),
        ),
        3,
    ):
        say(f"\n{number}. abaco run {tapes / name} -- {text}\n")
        document, changes = run_once(tapes / name, folder)
        documents[name] = document
        if not as_json:
            print_run(document, changes)
    with open_records(workspace) as records:
        verdict = verify_audit(records, workspace)
    say(f"\n6. abaco audit verify -- {verdict.events} events, {'nothing was changed' if verdict.ok else 'BAD'}")
    code, rehearsal = (0, None) if no_rehearsal else _rehearsed(folder, say, quiet=as_json)
    if as_json:
        found = {"workspace": str(folder), "runs": documents, "audit": verdict.as_dict(), "rehearsal": rehearsal}
        show.print_json(found)
    else:
        _say_next(folder)
    if code:
        raise click.exceptions.Exit(code)


def _rehearsed(folder: Path, say: Callable[[str], None], *, quiet: bool) -> tuple[int, dict[str, Any] | None]:
    """From the old report to the new release, on a copy, in a process of its own; exit code and document, if quiet."""
    from abaco_loans.wiring import abaco_command

    asked = ["rehearse", "--short", "--tapes", "1", "--from", "v1", "--to", "v2"]
    say(f"\n7. abaco {' '.join(asked)} -- on a copy, v2 takes over from an old report\n")
    command = [*abaco_command(), *asked, "--workspace", str(folder), *(["--json"] if quiet else [])]
    said = subprocess.run(command, stdout=subprocess.PIPE if quiet else None, check=False)
    return said.returncode, json.loads(said.stdout) if quiet else None


def _say(text: str) -> None:
    click.echo(click.style(text, bold=True) if text.strip()[:1].isdigit() else text)


def _say_next(folder: Path) -> None:
    click.echo(f"\nnow try, in {folder}:")
    for command, text in (
        ("abaco quarantine", "what was refused, line by line"),
        ("abaco kpi show risk.par_30", "a number with its proof"),
        ("abaco kpi explain risk.par_30 tapes/servicing", "the same book under four definitions"),
        ("abaco runs list", "what was run"),
        ("abaco rehearse --fail 5", "the same migration, when the new release is not good"),
        ("abaco audit export", "the ledger, for an auditor"),
        ("abaco doctor", "is all well here?"),
    ):
        click.echo(f"  {command:<48} {text}")
