"""``abaco init``, ``abaco sample``, ``abaco doctor``."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import day


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def init(folder: Path, as_json: bool) -> None:
    """Make a workspace in FOLDER: settings, releases v2 and v1, a masking key that only you can read.

    v2 is active: contracts, mappings, a KPI catalogue, definitions, gates. v1 stands by: an old report, as a program.
    """
    from abaco_loans.operations.workspace import make_workspace
    from abaco_loans.wiring import open_records

    workspace = make_workspace(folder, os.environ)
    with open_records(workspace):
        pass  # makes the records, so that the first run need not
    release, releases = workspace.release(), [workspace.any_release(name) for name in workspace.release_names()]
    if as_json:
        show.print_json(
            {
                "workspace": str(workspace.root),
                "release": release.name,
                "meaning": release.meaning_digest,
                "policy": release.policy_digest,
                "releases": {
                    item.name: {
                        "kind": item.kind,
                        "role": workspace.role(item.name),
                        "meaning": item.meaning_digest,
                        "policy": item.policy_digest,
                    }
                    for item in releases
                },
            }
        )
        return
    click.echo(
        f"made {folder} with release {release.name}: {len(release.catalogue.kpis)} KPIs,"
        f" {len(release.definitions)} definitions, {len(release.mappings)} mapping(s)"
    )
    for item in releases:
        if item.name != release.name:
            click.echo(f"release {item.name} stands by: an old report, as a program (`abaco release show {item.name}`)")
    click.echo(f"keep {folder}/keys safe and backed up: without it masked ids cannot be made again")
    click.echo(f"next: abaco run TAPE --workspace {folder}")


@click.command()
@click.option("--loans", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, help="Loans in the book.")
@click.option("--months", type=click.IntRange(1, 240), default=24, show_default=True, help="Months of history.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same files.")
@click.option("--end", callback=day, help="Date of the tapes [default: 2025-11-30].")
@click.option("--currencies", type=click.IntRange(1, 2), default=1, show_default=True, help="2 adds loans in HNL.")
@click.option("--dirty", type=click.FloatRange(0, 0.5), default=0.0, help="Share of rows to spoil.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("sample"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def sample(
    loans: int,
    months: int,
    seed: int,
    end: date | None,
    currencies: int,
    dirty: float,
    out: Path,
    as_json: bool,
) -> None:
    """Make a believable synthetic book: bucketed.csv, snapshot.csv and servicing/, each a tape of its own."""
    from abaco_loans.operations.write_sample import write_sample
    from abaco_loans.sample import SampleSpec

    chosen = {} if end is None else {"end": end}
    summary = write_sample(
        SampleSpec(loans=loans, months=months, seed=seed, currencies=currencies, dirty_share=dirty, **chosen),
        out,
    )
    if as_json:
        show.print_json(
            {
                "folder": str(out),
                "end": summary.end.isoformat(),
                "rows": dict(summary.rows),
                "loans": summary.loans,
                "open_loans": summary.open_loans,
                "customers": summary.customers,
                "dirty": len(summary.dirty),
            }
        )
        return
    click.echo(
        f"{summary.loans:,} loans of {summary.customers:,} customers, {summary.open_loans:,} open on {summary.end}"
    )
    for name, rows in summary.rows.items():
        click.echo(f"  {out}/{name}: {rows:,} rows")
    if summary.dirty:
        click.echo(f"{len(summary.dirty):,} rows are dirty, on purpose")
    click.echo(f"next: abaco run {out}/bucketed.csv")


@click.command()
@show.common
def doctor(workspace: Path | None, as_json: bool) -> None:
    """Check this machine and, if there is one, the workspace. Exit code 1 when something needs mending."""
    from abaco_loans.operations.check_health import check_health
    from abaco_loans.wiring import health_tools

    checks = check_health(health_tools(workspace, os.environ))
    bad = any(check.status == "bad" for check in checks)
    if as_json:
        show.print_json({"status": "bad" if bad else "ok", "checks": [check.as_dict() for check in checks]})
    else:
        words = {
            "ok": click.style("ok", fg="green"),
            "notice": click.style("notice", fg="yellow"),
            "bad": click.style("BAD", fg="red"),
        }
        show.table(("check", "status", "finding"), [(c.name, words[c.status], c.finding) for c in checks], cut=False)
    if bad:
        raise click.exceptions.Exit(1)
