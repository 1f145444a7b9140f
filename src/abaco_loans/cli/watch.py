"""``abaco watch``: production after a cutover, looked at by the hour; and the decisions that people make of it."""

from __future__ import annotations

import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abaco_loans.cli import show

if TYPE_CHECKING:
    from abaco_loans.operations.watch_checkpoint import WatchTools

_COLOURS = {
    "PASS": "green",
    "WARN": "yellow",
    "FAIL": "red",
    "UNKNOWN": "red",
    "MISSED": "red",
    "OVERDUE": "red",
    "DUE": "cyan",
}
_FIGURES = (
    ("kpi_latency_ms", "latency ms"),
    ("error_rate_percent", "errors %"),
    ("memory_mb", "memory MB"),
    ("cpu_percent", "cpu %"),
    ("audit_trail_events", "events"),
    ("kpi_variance_percent", "variance %"),
    ("pipeline_status", "pipeline"),
    ("validation_status", "validation"),
)
_BAD = ("FAIL", "UNKNOWN")
_DAY_H = 24


@click.group()
def watch() -> None:
    """Watch production after a cutover: checkpoints by the hour, decisions, the next due time."""


@watch.command("tick")
@show.common
def tick_command(workspace: Path | None, as_json: bool) -> None:
    """Do what is due now; call it every few minutes, from a timer. Safe to repeat.

    Exit code 1 when the checkpoint is FAIL or UNKNOWN, or a rollback is proposed.
    """
    from abaco_loans.operations.watch_document import tick_document
    from abaco_loans.operations.watch_production import tick

    tools = _tools(workspace, lambda text: click.echo(show.plain(text), err=True))
    document = tick_document(tick(tools))
    done = document["done"]
    if as_json:
        show.print_json(document)
    elif document["watch"] is None:
        click.echo("production is not watched: a watch begins with a cutover")
    else:
        _print_tick(document)
    if document["rollback_proposed"] or (done is not None and done["mark"] in _BAD):
        raise click.exceptions.Exit(1)


@watch.command("status")
@show.common
@click.option("--all", "whole", is_flag=True, help="Show the days to come, too.")
def status_command(workspace: Path | None, as_json: bool, whole: bool) -> None:
    """Show the timeline of the watch with its marks, the decisions, and when the next checkpoint is due."""
    from abaco_loans.operations.watch_document import watch_document

    document = watch_document(_tools(workspace, lambda text: None))
    if as_json:
        show.print_json(document)
    elif document["watch"] is None:
        click.echo("production was never watched: a watch begins with a cutover")
    else:
        _print_status(document, whole)


@watch.command("decide")
@show.common
@click.argument("hour")
@click.argument("choice")
@click.option("--reason", required=True, help="Why, in one line; it stands in the audit ledger.")
def decide_command(workspace: Path | None, as_json: bool, hour: str, choice: str, reason: str) -> None:
    """Decide at a decision point, in your name: HOUR is 8 (reduce, keep, investigate) or 24 (sign_off, extend).

    What trusts the release (reduce, sign_off) is refused, with exit code 1, unless every criterion is met.
    """
    from abaco_loans.operations.watch_document import decision_document
    from abaco_loans.operations.watch_production import decide

    made = decide(_tools(workspace, lambda text: None), hour, choice, reason)
    if as_json:
        show.print_json(decision_document(made))
        return
    click.echo(f"hour {made.point}: {made.decision}, decided by {show.plain(made.decided_by or 'nobody')}")


@watch.command("serve")
@show.common
@click.option("--host", default="127.0.0.1", show_default=True, help="Name or address of this machine to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="0: any that is free.")
def serve_command(workspace: Path | None, as_json: bool, host: str, port: int) -> None:
    """Serve /metrics (Prometheus, OpenMetrics) and /health, to be read only, until told to stop.

    Whoever can reach the port can read it; asked under another name than --host or localhost it answers nothing.
    """
    import signal

    from abaco_loans import wiring
    from abaco_loans.operations.serve_metrics import MetricsServer, answers
    from abaco_loans.operations.workspace import find_workspace

    tools = wiring.metrics_tools(find_workspace(workspace, os.environ))
    server = MetricsServer(host, port, answers(tools))
    before = {number: signal.signal(number, lambda *_: server.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    if as_json:
        show.print_json({"url": server.url})
    else:
        click.echo(f"serving {server.url}/metrics and {server.url}/health")
    try:
        server.serve()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tools(workspace: Path | None, tell: Any) -> WatchTools:
    from abaco_loans import wiring
    from abaco_loans.operations.workspace import find_workspace

    return wiring.watch_tools(find_workspace(workspace, os.environ), os.environ, tell)


def _print_tick(document: dict[str, Any]) -> None:
    done = document["done"]
    if document["missed"]:
        click.echo(f"missed: hour {', '.join(document['missed'])}")
    if done is None:
        click.echo(f"no checkpoint is due; the watch is {document['watch']['status']}")
        return
    figures = done["judged"]["figures"]
    rows = [
        (name, done["metrics"][name] or "-", _coloured(figures[name]["status"]), figures[name]["words"])
        for name, _ in _FIGURES
    ]
    show.table(("figure", "value", "status", "finding"), rows, right=(1,), cut=False)
    click.echo(f"\n{_coloured(done['mark'])}: checkpoint at hour {done['hour']}")


def _print_status(document: dict[str, Any], whole: bool) -> None:
    watch = document["watch"]
    beside = f" beside {watch['baseline_release']}" if watch["baseline_release"] else ""
    click.echo(f"watch {watch['watch_id']}: release {watch['release']}{beside}, {watch['status']}")
    click.echo(f"since {_moment(watch['started_at'])}, {document['elapsed_hours']} h ago\n")
    soon = Decimal(max(document["elapsed_hours"], "0", key=Decimal)) + _DAY_H
    lines = [
        line for line in document["timeline"] if whole or line.get("mark") != "TO COME" or Decimal(line["hour"]) <= soon
    ]
    rows = [_line(line) for line in lines if line["kind"] == "checkpoint"]
    header = ("hour", "due", "mark", *(title for _, title in _FIGURES))
    show.table(header, rows, right=(0, 3, 4, 5, 6, 7, 8))
    for said in document["decisions"]:
        _print_decision(said)
    following = document["next"]
    click.echo(f"\nnext: hour {following['hour']}, due {_moment(following['due_at'])}" if following else "\nover")


def _line(line: dict[str, Any]) -> tuple[str, ...]:
    metrics = line.get("metrics") or {}
    return (
        line["hour"],
        _moment(line["due_at"]),
        _coloured(line["mark"]),
        *(metrics.get(name) or "-" for name, _ in _FIGURES),
    )


def _print_decision(said: dict[str, Any]) -> None:
    if said["decision"] is not None:
        who = "by default: nobody decided" if said["by_default"] else f"by {said['decided_by']}"
        click.echo("\n" + show.plain(f"decision at hour {said['hour']}: {said['decision']}, {who} ({said['reason']})"))
        return
    click.echo(f"\ndecision at hour {said['hour']}: {said['question']} Until {_moment(said['deadline'])},")
    click.echo(
        f"then {said['default']}. Answer: abaco watch decide {said['hour']} {'|'.join(said['choices'])} --reason"
    )
    for item in said["criteria"]:
        mark = click.style("met", fg="green") if item["met"] else click.style("not met", fg="red")
        click.echo(f"  {mark}: {item['criterion']}" + (f" ({item['words']})" if item["words"] else ""))


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _coloured(mark: str) -> str:
    word = "n/a" if mark == "NOT_APPLICABLE" else mark
    return click.style(word, fg=_COLOURS.get(mark, "bright_black"))
