"""Did tapes arrive when their contracts expect them? Judged from arrival: when the run that read a tape began."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from abaco_loans.operations.validation_desk import Desk
from abaco_loans.records.runs import RunRecord
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.tape.contract import Contract
from abaco_loans.watch.check import Status, SubCheck, added_up

NAME = "freshness"
_RUNS_MAX = 200
_HOUR = timedelta(hours=1)

Found = tuple[Status, str]


def check_freshness(desk: Desk) -> SubCheck:
    """Every layout of which the release that is active expects tapes at certain times.

    Raises:
        ConfigError: the release cannot be read.
        WorldError: the records cannot be read.
    """
    release = desk.release_of(desk.release)
    if isinstance(release, CommandRelease):
        return SubCheck(name=NAME, status=Status.NOT_APPLICABLE, words=f"release {release.name} has no contract")
    expected = [item for item in release.contracts.values() if item.arrives_every_h or item.arrives_within_h]
    if not expected:
        words = "the contract does not say when a tape is expected"
        return SubCheck(name=NAME, status=Status.NOT_APPLICABLE, words=words)
    with desk.given.tools.open_records() as records:
        runs = [item for item in records.reader.list(limit=_RUNS_MAX) if item.status == "finished"]
    now = desk.given.tools.clock.now()
    found = {
        item.layout: _judged(item, [run for run in runs if run.layout == item.layout and run.rows], now)
        for item in expected
    }
    status = added_up(status for status, _ in found.values())
    return SubCheck(
        name=NAME,
        status=status,
        words=next(words for of, words in found.values() if of is status),
        evidence={layout: f"{of.value}: {words}" for layout, (of, words) in found.items()},
    )


def _judged(contract: Contract, runs: list[RunRecord], now: datetime) -> Found:
    """A tape that is missing fails; one that came late is there by now, and only worth a look."""
    layout = contract.layout
    if not runs:
        return Status.NOT_APPLICABLE, f"no {layout} tape has arrived yet"
    last = max(runs, key=lambda run: run.started_at)
    came = f"the last {layout} tape arrived at {last.started_at.isoformat()}"
    if last.started_at > now:
        return Status.UNKNOWN, f"{came}, and now is {now.isoformat()}: how long ago is not known"
    every, within = contract.arrives_every_h, contract.arrives_within_h
    if every and now - last.started_at > every * _HOUR:
        return Status.FAIL, f"{came}; one is expected every {every:,} hours"
    due = datetime.combine(last.as_of, time(), UTC) + timedelta(days=1) + (within or 0) * _HOUR
    if within and last.started_at > due:
        return Status.WARN, f"{came}; that of {last.as_of} was expected by {due.isoformat()}"
    return Status.PASS, f"{came}, as expected"
