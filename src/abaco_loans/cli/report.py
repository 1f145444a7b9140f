"""``abaco report``: what can be handed to others."""

from __future__ import annotations

import os
from pathlib import Path

import click

from abaco_loans.cli import show


@click.group()
def report() -> None:
    """Write reports from what is recorded."""


@report.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("book.html"), help="The file [default: book.html]."
)
@click.option("--panel", "panel_id", help="Panel to read [default: the latest].")
@click.option("--lender", default="", help="Name on the cover [default: that of the workspace's folder].")
@show.common
def book(out: Path, panel_id: str | None, lender: str, workspace: Path | None, as_json: bool) -> None:
    """Write the book: one HTML page with the latest panel's KPIs, PAR, ageing, roll rates, vintages and checks.

    The file needs no network and no script, and prints well. It names no loan and no customer.
    """
    from abaco_loans import wiring
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.operations.write_book import write_book

    place = wiring.in_production(find_workspace(workspace, os.environ))
    tell = show.progress()
    try:
        tell("drawing the book")
        document = write_book(wiring.run_tools(place, os.environ, tell), out, panel_id=panel_id, lender=lender)
    finally:
        tell("")
    if as_json:
        show.print_json({"path": str(out), **document})
    else:
        click.echo(f"{document['title']}, as of {document['as_of']}: {out} (open it in a browser, or print it)")
