"""``abaco shadow``: two releases on the same tapes, every difference explained, and a verdict."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import click

from abaco_loans.cli import show
from abaco_loans.cli.run import day

_MARKS = {"pass": ("PASS", "green"), "fail": ("FAIL", "red"), "inconclusive": ("INCONCLUSIVE", "yellow")}
_RUN = "run"
_REASONS_MAX = 15


class _ShadowGroup(click.Group):
    """``abaco shadow TAPE...`` compares; a first word that names a subcommand is that subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the subcommand in front where a tape or an option stands there."""
        named = [item for item in args if not item.startswith("-")]
        asks_help = bool(args) and args[0] in ("-h", "--help")
        if args and not asks_help and (not named or args[0] not in self.commands):
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ShadowGroup, no_args_is_help=True)
def shadow() -> None:
    """Compare two releases on the same tapes: abaco shadow TAPE... --baseline v1 --candidate v2.

    A tape that is called like a subcommand is given as ./report.
    """


@shadow.command(_RUN)
@click.argument("tapes", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--baseline", help="Release to compare with [default: the active one].")
@click.option("--candidate", help="Release that may take over [default: the one whose role is shadow].")
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Runs of the baseline: their spread is the noise floor. Take 8 for a noisy program.",
)
@click.option("--as-of", callback=day, help="Date to calculate at (YYYY-MM-DD) [default: the latest of each tape].")
@click.option("--definition", help="Definition of the catalogue releases [default: that of the layout].")
@click.option("--layout", help="bucketed, snapshot or servicing [default: recognised from the header].")
@click.option("--mapping", help="Mapping to read the tapes with [default: the one that fits].")
@click.option("--timeout", type=click.IntRange(1, 86_400), default=1800, show_default=True, help="Seconds a run.")
@show.common
def run(
    tapes: tuple[Path, ...],
    baseline: str | None,
    candidate: str | None,
    repeat: int,
    as_of: date | None,
    definition: str | None,
    layout: str | None,
    mapping: str | None,
    timeout: int,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Run baseline and candidate on TAPES, compare them loan by loan, and say whether the candidate passes.

    The baseline runs twice or more (its own spread is noise), the candidate once, each in a process that can write
    to its own folder only. Nothing is published. Exit code 0 when the gates pass, 1 when they do not.
    """
    from abaco_loans import wiring
    from abaco_loans.operations.run_shadow import ShadowRequest, run_shadow
    from abaco_loans.operations.workspace import find_workspace

    place = wiring.in_production(find_workspace(workspace, os.environ))
    first, second = place.shadow_pair(baseline, candidate)
    tell = show.progress()
    documents = []
    try:
        for tape in tapes:
            request = ShadowRequest(
                path=tape,
                baseline=first,
                candidate=second,
                repeats=repeat,
                as_of=as_of,
                definition=definition,
                layout=layout,
                mapping=mapping,
                timeout_s=timeout,
            )
            tools = wiring.run_tools(place, os.environ, tell)
            documents.append(run_shadow(request, tools, wiring.side_worker(os.environ)))
            tell("")
            if not as_json:
                print_shadow(documents[-1])
    finally:
        tell("")
    last = documents[-1]
    if as_json:
        show.print_json({**last, "tapes": documents} if len(documents) > 1 else last)
    elif len(documents) > 1:
        click.echo(f"\ntogether: {last['settled']['words']}")
    if any(document["verdict"] != "pass" and not document["dry_run"] for document in documents):
        raise click.exceptions.Exit(1)


def print_shadow(document: dict[str, Any]) -> None:
    """The report as a person reads it on a terminal: verdict first."""
    word, colour = _MARKS[document["verdict"]]
    dry = " (dry run: stops nobody)" if document["dry_run"] else ""
    old, new = document["baseline"], document["candidate"]
    click.echo(
        f"{click.style(word, fg=colour, bold=True)}{dry}  {old['release']} → {new['release']} on"
        f" {show.plain(document['tape']['name'])}, as of {document['as_of']}"
    )
    reasons = [item for item in document["reasons"] if item["outcome"] != "not judged"]
    for reason in reasons[:_REASONS_MAX]:
        click.echo(f"  {reason['outcome']}: {_place(reason)}{show.plain(reason['words'])}")
    if len(reasons) > _REASONS_MAX:
        click.echo(f"  and {len(reasons) - _REASONS_MAX} more: see the report")
    kpis = {name: item for name, item in document["kpis"].items() if item["difference"] is not None}
    if kpis:
        click.echo()
        show.table(
            ("KPI", old["release"], new["release"], "variance", "verdict", "why"),
            [
                (
                    name,
                    _short(item["baseline"]),
                    _short(item["candidate"]),
                    _percent(item),
                    item["verdict"],
                    show.plain(item["words"]) if item["words"] != "the same" else "",
                )
                for name, item in kpis.items()
            ],
            right=(1, 2, 3),
        )
    left = len(document["kpis"]) - len(kpis)
    if left:
        click.echo(f"{left} KPIs cannot be compared on this tape (the report says why)")
    _print_bridges(document)
    segments, loans = document["segments"], document["loans"]
    if segments["compared"]:
        click.echo(f"\nsegments: {segments['compared']:,} compared, {segments['same']:,} the same")
    elif segments["only_candidate"]:
        click.echo(f"\nsegments: {old['release']} gives none to compare with")
    if loans:
        click.echo(
            f"loans: {loans['both']:,} in both, {loans['differing']:,} differ, only in {old['release']}"
            f" {loans['only_baseline']:,}, only in {new['release']} {loans['only_candidate']:,}"
        )
    for item in document["notes"]:
        click.echo(click.style("note: ", fg="yellow") + show.plain(item))
    seconds = document["timings"]
    click.echo(
        f"\n{old['release']} took {', '.join(seconds['baseline_seconds'])} s, {new['release']}"
        f" {seconds['candidate_seconds']} s; gate: {document['settled']['words']}"
    )
    click.echo(f"`abaco shadow report {document['shadow_id']}` writes it as a page")


def _place(reason: dict[str, Any]) -> str:
    if not reason["kpi"]:
        return ""
    cell = f" ({show.plain(reason['segment'])} = {show.plain(reason['segment_value'])})" if reason["segment"] else ""
    return f"{reason['kpi']}{cell}: "


def _short(value: str | None) -> str:
    """A value to six decimals at most, as printed where it has fewer."""
    from decimal import Decimal

    if value is None:
        return "-"
    exact = Decimal(value)
    cut = exact if -int(exact.as_tuple().exponent) <= 6 else round(exact, 6)
    return f"{cut:,f}"


def _percent(item: dict[str, Any]) -> str:
    from decimal import Decimal

    if item["variance_percent"] is None:
        return "no ratio"
    return f"{Decimal(item['variance_percent']):.2f} %"


def _print_bridges(document: dict[str, Any]) -> None:
    """The causes of every difference that has any."""
    rows = []
    for kpi, bridge in document["bridge"].items():
        for part in bridge["parts"]:
            top = part["top"][0]["loan_id"] if part["top"] else ""
            loans = "" if part["loans"] is None else f"{part['loans']:,}"
            rows.append((kpi, part["cause"], show.plain(part["text"]), _signed(part["contribution"]), loans, top))
    if rows:
        click.echo()
        show.table(("bridge", "cause", "what", "part", "loans", "on top"), rows, right=(3, 4))


def _signed(value: str) -> str:
    from decimal import Decimal

    exact = Decimal(value)
    return f"{exact:+.6f}" if abs(exact) >= Decimal("0.000001") or not exact else f"{exact:+.2e}"


@shadow.command("list")
@click.option("--candidate", help="Of this candidate only.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, latest first.")
@show.common
def list_(candidate: str | None, limit: int, workspace: Path | None, as_json: bool) -> None:
    """List shadow runs, the latest first."""
    from abaco_loans import wiring
    from abaco_loans.operations.shadow_history import history_document
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace, os.environ)
    with wiring.open_records(place) as records:
        found = history_document(records.shadow_reader, candidate=candidate, limit=limit)
    if as_json:
        show.print_json({"shadow_runs": found})
        return
    if not found:
        click.echo("nothing was compared yet: abaco shadow TAPE --baseline v1 --candidate v2")
        return
    show.table(
        ("shadow run", "as of", "tape", "releases", "compared", "verdict"),
        [
            (
                item["shadow_id"],
                item["as_of"],
                show.plain(item["tape"]),
                f"{item['baseline']} → {item['candidate']}",
                item["compared_at"][:16].replace("T", " "),
                f"{item['verdict']}{' (dry run)' if item['dry_run'] else ''}",
            )
            for item in found
        ],
    )


@shadow.command()
@click.argument("shadow_id", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="The page [default: shadow-ID.html].")
@show.common
def report(shadow_id: str | None, out: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Write the report of a shadow run (default: the latest) as one HTML page; --json prints it instead.

    The page needs no network and no script, and prints well. It is restricted: it names loans.
    """
    from abaco_loans import wiring
    from abaco_loans.operations.shadow_history import shadow_report, write_shadow_page
    from abaco_loans.operations.workspace import find_workspace

    place = find_workspace(workspace, os.environ)
    with wiring.open_records(place) as records:
        document, history = shadow_report(place, records.shadow_reader, shadow_id)
    if as_json:
        show.print_json({**document, "history": history})
        return
    target = out or Path(f"shadow-{document['shadow_id']}.html")
    write_shadow_page(document, history, target)
    click.echo(f"{document['verdict']}: {target} (open it in a browser, or print it; it names loans)")
