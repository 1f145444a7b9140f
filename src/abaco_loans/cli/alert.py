"""``abaco alert``: what is wrong in production now, who looks after it, and what is silent for a while."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show
from abaco_loans.errors import UsageError

if TYPE_CHECKING:
    from abaco_loans.operations.alert_production import AlertTools

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_REASON = click.option("--reason", required=True, help="Why, in one line; it stands in the audit ledger.")


@click.group()
def alert() -> None:
    """See alerts, answer them, silence a cause, try the channels."""


@alert.command("list")
@show.common
@click.option("--all", "whole", is_flag=True, help="Show those that are over, too.")
def list_command(workspace: Path | None, as_json: bool, whole: bool) -> None:
    """List what is open, the worst first."""
    from abaco_loans.operations.answer_alerts import alerts_document

    found = alerts_document(_tools(workspace), whole=whole)
    if as_json:
        show.print_json(found)
        return
    if not found:
        click.echo("no alert was ever raised" if whole else "no alert is open")
        return
    rows = [
        (
            item["id"],
            show.coloured(item["severity"]),
            _state(item),
            _cause(item),
            _when(item["first_seen"]),
            item["words"],
        )
        for item in found
    ]
    show.table(("alert", "severity", "status", "cause", "since", "finding"), rows)


@alert.command("show")
@show.common
@click.argument("alert_id")
def show_command(workspace: Path | None, as_json: bool, alert_id: str) -> None:
    """Show one alert: what it means, what to do, whom it was told to."""
    from abaco_loans.operations.answer_alerts import alert_document

    found = alert_document(_tools(workspace), alert_id)
    if as_json:
        show.print_json(found)
        return
    click.echo(f"{show.coloured(found['severity'])}: {show.plain(found['words'])}")
    lines = (
        ("cause", f"{_cause(found)}: {found['meaning']}"),
        ("status", _state(found)),
        ("since", f"{_when(found['first_seen'])}, seen {found['seen']} times, last {_when(found['last_seen'])}"),
        ("owner", found["owner"]),
        ("what to do", found["runbook"]),
        ("fingerprint", found["fingerprint"]),
    )
    for name, text in lines:
        click.echo(f"  {name:<12} {show.plain(text)}")
    if found["deliveries"]:
        click.echo("")
        names = ("kind", "severity", "channel", "status", "last_code")
        rows = [(_when(item["queued_at"]), *(item[name] for name in names)) for item in found["deliveries"]]
        show.table(("queued", "kind", "severity", "channel", "status", "failed with"), rows)


@alert.command("ack")
@show.common
@click.argument("alert_id")
@_REASON
def ack_command(workspace: Path | None, as_json: bool, alert_id: str, reason: str) -> None:
    """Answer an alert in your name: you look after it, and nobody else is asked."""
    from abaco_loans.operations.answer_alerts import acknowledge

    made = acknowledge(_tools(workspace), alert_id, reason)
    if as_json:
        show.print_json({"id": made.alert_id, "status": made.status.value, "acknowledged_by": made.acknowledged_by})
        return
    click.echo(f"alert {made.alert_id} is acknowledged by {show.plain(made.acknowledged_by or '')}")


@alert.command("silence")
@show.common
@click.argument("name")
@click.option("--until", help="End, such as 2025-12-24 or 2025-12-24T18:00; UTC where no zone is given.")
@click.option("--for", "span", help="Instead of --until: 30m, 4h, 2d.")
@_REASON
def silence_command(
    workspace: Path | None, as_json: bool, name: str, until: str | None, span: str | None, reason: str
) -> None:
    """Send nothing for a cause for a while; NAME is an alert or its fingerprint.

    What is open stays open, and is reminded of when the silence ends.
    """
    from abaco_loans.operations.answer_alerts import silence

    tools = _tools(workspace)
    made = silence(tools, name, _end(tools.clock.now(), until, span), reason)
    if as_json:
        show.print_json({"fingerprint": made.fingerprint, "until": made.until.isoformat(), "by": made.by})
        return
    click.echo(f"{made.fingerprint} is silent until {_when(made.until.isoformat())}")


@alert.command("test")
@show.common
@click.option("--channel", "channels", multiple=True, help="Only this one; may be given again [default: all].")
def test_command(workspace: Path | None, as_json: bool, channels: tuple[str, ...]) -> None:
    """Send a message, marked as a test, through the channels of alerts.yml. Exit code 1 when one does not take it."""
    from abaco_loans.operations.answer_alerts import try_channels

    tried = try_channels(_tools(workspace), channels)
    if as_json:
        show.print_json([{"channel": item.channel, "error": item.error and item.error.as_dict()} for item in tried])
    else:
        for item in tried:
            mark = click.style("failed", fg="red") if item.error else click.style("sent", fg="green")
            click.echo(f"{item.channel}: {mark}" + (f": {show.plain(str(item.error))}" if item.error else ""))
    if any(item.error for item in tried):
        raise click.exceptions.Exit(1)


def _tools(workspace: Path | None) -> AlertTools:
    from abaco_loans import wiring
    from abaco_loans.operations.workspace import find_workspace

    def tell(text: str) -> None:
        click.echo(show.plain(text), err=True)

    return wiring.alert_tools(find_workspace(workspace, os.environ), os.environ, tell)


def _end(now: datetime, until: str | None, span: str | None) -> datetime:
    """When a silence ends.

    Raises:
        UsageError: ``ALR-116`` neither or both are given, or it is no time.
    """
    if span is not None and until is None and (found := _SPAN.fullmatch(span)):
        return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
    if until is not None and span is None:
        try:
            at = datetime.fromisoformat(until)
        except ValueError:
            pass
        else:
            return at if at.tzinfo else at.replace(tzinfo=UTC)
    raise UsageError(
        "it is not said until when",
        code="ALR-116",
        where="alert silence",
        hint="give --until 2025-12-24T18:00, or --for 30m, 4h or 2d",
    )


def _cause(item: dict[str, Any]) -> str:
    return f"{item['rule']} ({item['subject']})" if item["subject"] else str(item["rule"])


def _state(item: dict[str, Any]) -> str:
    """The status, and what keeps it quiet."""
    said = [item["status"]]
    if item["acknowledged_by"]:
        said.append(f"by {item['acknowledged_by']}")
    if item["silenced"]:
        said.append(f"silent until {_when(item['silenced']['until'])}")
    if item["follows_from_another"]:
        said.append("follows from another")
    return ", ".join(said)


def _when(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
