"""``abaco release``: what stands in releases/, what two of them differ in, who approved looser gates, what is over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from abaco_loans.cli import show

_DIGITS = 12
_KPIS_SHOWN = 3


@click.group()
def release() -> None:
    """List, show and compare releases; approve looser gates; retire what is over."""


@release.command("list")
@show.common
def list_(workspace: Path | None, as_json: bool) -> None:
    """List the releases of the workspace and their roles."""
    from abaco_loans.operations.describe_release import listed_releases
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import in_production, open_records

    place = in_production(find_workspace(workspace, os.environ))
    with open_records(place) as records:
        found = listed_releases(place, records.reader.releases())
    if as_json:
        show.print_json({"releases": found})
        return
    rows = [
        (
            item["name"],
            item["kind"] or click.style("BROKEN", fg="red"),
            item["role"],
            (item["meaning"] or "-")[:_DIGITS],
            (item["policy"] or "-")[:_DIGITS],
            item["fault"]["what"] if item["fault"] else item["holds"],
            _since(item.get("frozen")),
        )
        for item in found
    ]
    show.table(("release", "kind", "role", "meaning", "policy", "what", "first run"), rows)
    if place.settings.release not in place.release_names():
        click.echo(f"the active release is {place.settings.release} (abaco.yml), and it is not there")


def _since(frozen: dict[str, Any] | None) -> str:
    if frozen is None:
        return "-"
    day = str(frozen["since"])[:10]
    return day if frozen["unchanged"] else f"{day}, changed since"


@release.command("show")
@click.argument("name")
@show.common
def show_(name: str, workspace: Path | None, as_json: bool) -> None:
    """Show release NAME: digests, what it holds, what it is judged by, and since when it is frozen."""
    from abaco_loans.clock import SystemClock
    from abaco_loans.operations.describe_release import release_document
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import in_production, open_records

    place = in_production(find_workspace(workspace, os.environ))
    with open_records(place) as records:
        document = release_document(
            place, name, records.reader.releases(), records.shadow_reader.seals(name), SystemClock().now().date()
        )
    if as_json:
        show.print_json(document)
        return
    click.echo(f"release {name}: {document['kind']}, {document['role']}")
    if document["description"]:
        click.echo(f"  {show.plain(document['description'])}")
    click.echo(f"  meaning   {document['meaning']}")
    click.echo(f"  policy    {document['policy']}")
    click.echo(f"  frozen    {_frozen_words(document['frozen'])}")
    _print_program(document["program"]) if "program" in document else _print_catalogue(document["catalogue"])
    for definition, item in document["definitions"].items():
        used = f" (default for {', '.join(item['default_for'])})" if item["default_for"] else ""
        click.echo(f"  definition {definition} version {item['version']}{used}: {show.plain(item['description'])}")
    _print_gates(document)


def _frozen_words(frozen: dict[str, Any] | None) -> str:
    if frozen is None:
        return "no: it has not run yet"
    if frozen["unchanged"]:
        return f"since {frozen['since'][:19]}: what it means can no longer change"
    return (
        f"since {frozen['since'][:19]}, but its files mean something else now: it will not run;"
        " restore them, or give the change a new name"
    )


def _print_catalogue(catalogue: dict[str, Any]) -> None:
    click.echo(f"  catalogue version {catalogue['version']}: {len(catalogue['kpis'])} KPIs (`abaco kpi list`)")
    click.echo(f"  layouts   {', '.join(catalogue['layouts'])}")
    mappings = [f"{name} {digest[:_DIGITS]}" for name, digest in catalogue["mappings"].items()]
    click.echo(f"  mappings  {', '.join(mappings) or 'none'}")


def _print_program(program: dict[str, Any]) -> None:
    click.echo(f"  program   {show.plain(' '.join(program['argv']))}")
    click.echo(f"  limits    {program['timeout_s']} s, {program['memory_mb']} MB of memory")
    if program["environment"]:
        click.echo(f"  is given  {', '.join(program['environment'])}")
    loans = program["loans"]
    rows = f"{loans['format']}: {', '.join(loans['columns'])}" if loans else "none: no bridge can be built"
    click.echo(f"  loan rows {rows}")
    for path, digest in program["files"].items():
        click.echo(f"  file      {show.plain(path)} {digest[:_DIGITS]}")


def _print_gates(document: dict[str, Any]) -> None:
    """What it is judged by as a candidate."""
    fault = document["gates_fault"]
    if fault:
        click.echo(f"gates: cannot be used: {show.plain(fault['what'])} ({fault['code']}, {fault['where']})")
        return
    gates = document["gates"]
    click.echo(f"gates as a candidate{'' if gates['file'] else ' (defaults: it has no gates.yml)'}:")
    for line in gates["words"]:
        click.echo(f"  {line}")
    if document["expected"]:
        click.echo("expected differences:")
    for item in document["expected"]:
        until = f"expired on {item['until']}" if item["expired"] else f"until {item['until']}"
        click.echo(f"  {show.plain(item['words'])}; {until}")
    _print_seal(document["name"], document["seal"])


def _print_seal(name: str, seal: dict[str, Any] | None) -> None:
    if seal is None:
        click.echo("not sealed yet: `abaco shadow` seals them before it compares")
        return
    click.echo(f"last sealed {seal['sealed_at'][:19]} by {show.plain(seal['sealed_by'])}")
    for line in seal["loosened"]:
        click.echo(f"  looser: {show.plain(line)}")
    if seal["pending"]:
        click.echo(f"  waits for a second person: abaco release approve {name} --reason TEXT")
    elif seal["loosened"]:
        click.echo(f"  approved by {show.plain(seal['approved_by'])}: {show.plain(seal['reason'])}")


@release.command()
@click.argument("baseline")
@click.argument("candidate")
@show.common
def diff(baseline: str, candidate: str, workspace: Path | None, as_json: bool) -> None:
    """Show what changed from BASELINE to CANDIDATE, and which KPIs each change can touch."""
    from abaco_loans.operations.describe_release import diff_document
    from abaco_loans.operations.workspace import find_workspace

    document = diff_document(find_workspace(workspace, os.environ), baseline, candidate)
    if as_json:
        show.print_json(document)
        return
    for side in ("baseline", "candidate"):
        item = document[side]
        click.echo(f"{item['name']}: {item['kind']}, meaning {item['meaning'][:_DIGITS]}, {show.plain(item['holds'])}")
    click.echo(_verdict(document))
    for part, title in (("meaning", "meaning: can change a number"), ("policy", "policy: changes no number")):
        if document[part]:
            click.echo(f"\n{title}")
            columns = ("change", "can touch") if part == "meaning" else ("change",)
            show.table(columns, [_row(item, document["any_kpi"])[: len(columns)] for item in document[part]], cut=False)
    if document["kpis"]:
        click.echo(f"\nKPIs that can move: {', '.join(document['kpis'])}")


def _verdict(document: dict[str, Any]) -> str:
    if document["any_kpi"]:
        return (
            "any KPI can differ: what a program does is not known from its files (`abaco shadow` compares the numbers)"
        )
    if not document["meaning"] and not document["policy"]:
        return "nothing differs"
    if document["amendment"]:
        return "an amendment: no number of a tape that was read before changes, and no cutover is needed"
    return "another meaning: a new release, with shadow runs and a cutover"


def _row(item: dict[str, Any], any_kpi: bool) -> tuple[str, str]:
    kpis = item["kpis"]
    touches = "any KPI" if any_kpi else ", ".join(kpis[:_KPIS_SHOWN]) or "no KPI"
    if len(kpis) > _KPIS_SHOWN:
        touches += f" and {len(kpis) - _KPIS_SHOWN} more"
    touches += "; and which rows are accepted" if item["rows"] else ""
    if item["amendment"]:
        touches = "tapes that no mapping read before (an amendment)"
    return show.plain(item["words"]), touches


@release.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why they may be looser; stands in every report.")
@show.common
def approve(name: str, reason: str, workspace: Path | None, as_json: bool) -> None:
    """Approve that the gates of candidate NAME are looser than before, as a second person.

    What is approved is what `abaco release show NAME` lists as looser. Whoever loosened them cannot approve it.
    """
    from abaco_loans.clock import SystemClock
    from abaco_loans.operations.approve_gates import approve_gates
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import open_records, write_anchor

    place, clock = find_workspace(workspace, os.environ), SystemClock()
    with open_records(place, clock) as records:
        reader, writer = records.shadow_reader, records.shadow_writer
        seal = approve_gates(reader, writer, name, reason, anchor=lambda: write_anchor(place, clock))
    if as_json:
        show.print_json(
            {
                "candidate": seal.candidate,
                "gates_digest": seal.gates_digest,
                "expected_digest": seal.expected_digest,
                "loosened": list(seal.loosened),
                "sealed_by": seal.sealed_by,
                "approved_by": seal.approved_by,
                "reason": seal.reason,
            }
        )
        return
    click.echo(
        f"{show.plain(seal.approved_by or '')} approved the gates of {name}, sealed by {show.plain(seal.sealed_by)}:"
    )
    for line in seal.loosened:
        click.echo(f"  {show.plain(line)}")


@release.command()
@click.argument("name")
@click.option("--reason", default="", help="Why; stands in the audit ledger.")
@show.common
def retire(name: str, reason: str, workspace: Path | None, as_json: bool) -> None:
    """End the old release NAME, 28 good days after the one that followed it became active.

    It runs no more; all that it ever said stays readable. Exit code 1: it is still needed.
    """
    from abaco_loans.operations.retire_release import retire_release
    from abaco_loans.operations.workspace import find_workspace
    from abaco_loans.wiring import run_tools

    tools = run_tools(find_workspace(workspace, os.environ), os.environ, lambda text: None)
    with tools.open_records() as records:
        retire_release(name, reason, tools, records)
    if as_json:
        show.print_json({"release": name, "role": "retired", "reason": reason})
        return
    click.echo(f"{show.plain(name)} is retired: it runs no more, and its history stays readable")
