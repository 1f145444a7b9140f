"""``abaco report``: what can be handed to others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from abaco_loans.cli import show

Command = TypeVar("Command", bound=Callable[..., Any])
_FORMATS = {"md": ("md",), "html": ("html",), "pdf": ("pdf",), "all": ("md", "html", "pdf")}


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


def _of_a_cutover(command: Command) -> Command:
    """The options of every report of a cutover."""
    for option in (
        click.option(
            "--format", "form", type=click.Choice([*_FORMATS]), help="What to write [default: Markdown and HTML]."
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            help="The folder, or one file: .md, .html or .pdf [default: reports/cutover-ID].",
        ),
        click.option("--cutover", "cutover_id", help="Which cutover [default: the one under way, or the last]."),
    ):
        command = option(command)
    return show.common(command)


@report.command()
@_of_a_cutover
def handoff(**asked: Any) -> None:
    """Write the handoff document for operations: what happened, checklist, alerts, escalation, rollback, commands."""
    _write("handoff", **asked)


@report.command()
@_of_a_cutover
def onepage(**asked: Any) -> None:
    """Write one page for management: verdict, what changed, numbers before and after, open points."""
    _write("onepage", **asked)


@report.command()
@_of_a_cutover
def brief(**asked: Any) -> None:
    """Write the brief for hour 8: what is asked, until when, what happens without an answer, the facts."""
    _write("brief", **asked)


@report.command()
@_of_a_cutover
def signoff(**asked: Any) -> None:
    """Write the sign-off of hour 24: criteria met or not, and lines for the signatures."""
    _write("signoff", **asked)


@report.command()
@_of_a_cutover
def briefing(**asked: Any) -> None:
    """Write the briefing before a cutover: plan, evidence, approvals, and blanks for what is agreed."""
    _write("briefing", **asked)


@report.command()
@_of_a_cutover
def retrospective(**asked: Any) -> None:
    """Write the retrospective after a cutover: what happened, and blanks for what people say."""
    _write("retrospective", **asked)


def _write(
    kind: str,
    *,
    cutover_id: str | None,
    out: Path | None,
    form: str | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    from abaco_loans import wiring
    from abaco_loans.operations.cutover_facts import cutover_facts
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.operations.write_report import report_folder, write_report

    one = _one_file(form, out)
    place = find_workspace(workspace, os.environ)
    facts = cutover_facts(wiring.report_tools(place, os.environ), cutover_id)
    if one is not None and out is not None:
        files = write_report(kind, facts, out.parent, (one,), stem=out.stem)
    else:
        folder = out or report_folder(place, facts["cutover"]["id"])
        files = write_report(kind, facts, folder, _FORMATS[form] if form else ("md", "html"))
    if as_json:
        show.print_json({"report": kind, "files": [str(path) for path in files], "facts": facts})
        return
    cutover = facts["cutover"]
    click.echo(f"{kind} of {cutover['id']} ({cutover['from']} to {cutover['to']}, {facts['state'].replace('_', ' ')}):")
    for path in files:
        click.echo(f"  {show.plain(str(path))}")


def _one_file(form: str | None, out: Path | None) -> str | None:
    """The format of the one file that is asked for; None where a folder is."""
    found = out.suffix[1:] if out is not None else ""
    if out is None or found.lower() not in _FORMATS["all"] or out.is_dir():
        return None
    if found != found.lower():
        raise click.UsageError(f"--out {out.name}: write the ending in small letters")
    if form and form != found:
        raise click.UsageError(f"--out {out.name} is one file, and --format {form} asks for another; leave one out")
    return found
