"""Can it be proven what happened? Chain and anchors hold, the last run has its events, time goes forwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from abaco_loans.errors import WorldError
from abaco_loans.operations.validation_desk import Desk, looked_at, measured
from abaco_loans.operations.verify_audit import AuditVerdict, verify_audit
from abaco_loans.records.anchors import read_anchors
from abaco_loans.records.runs import RunRecord
from abaco_loans.watch.check import Check, Status, SubCheck
from abaco_loans.watch.metric import AUDIT_EVENTS

NAME = "audit_trail"
_CHAIN, _ANCHORED, _EVENTS, _CLOCK = "chain_and_anchors", "last_run_anchored", "last_run_events", "clock_in_order"
_DAMAGED = ("REC-105", "REC-112")  # what is there is not what was written: no accident of the moment


def check_audit(desk: Desk) -> Check:
    """The ledger of the workspace, and what it says of the last run."""
    verdicts: list[AuditVerdict] = []

    def chain() -> SubCheck:
        with desk.given.open_trail(desk.workspace) as trail:
            verdicts.append(verify_audit(trail, desk.workspace))
        return _chain(verdicts[0])

    return Check(
        name=NAME,
        subchecks=(
            looked_at(_CHAIN, lambda: _unless_damaged(chain)),
            desk.on_last_run(_ANCHORED, lambda record: _anchored(desk, record)),
            desk.on_last_run(_EVENTS, lambda record: _events(desk, record)),
            looked_at(_CLOCK, lambda: _clock(desk, verdicts)),
        ),
    )


def _unless_damaged(look: Callable[[], SubCheck]) -> SubCheck:
    try:
        return look()
    except WorldError as error:
        if error.code not in _DAMAGED:
            raise
        words = f"{error.what} ({error.code})"
        return SubCheck(name=_CHAIN, status=Status.FAIL, words=words, evidence={"error": error.as_dict()})


def _chain(verdict: AuditVerdict) -> SubCheck:
    words = verdict.message or f"{verdict.events:,} events and {verdict.anchors:,} anchors, nothing was changed"
    return SubCheck(
        name=_CHAIN,
        status=Status.PASS if verdict.ok else Status.FAIL,
        words=words,
        metrics={"ledger_events": verdict.events, "ledger_anchors": verdict.anchors},
        evidence=verdict.as_dict(),
    )


def _anchored(desk: Desk, record: RunRecord) -> SubCheck:
    """Whether an anchor was written after the run, so that its events cannot be taken back."""
    held = max((anchor.count for anchor in read_anchors(desk.workspace.anchors).anchors), default=0)
    evidence = {"event": record.event_seq, "anchored_events": held}
    if held >= record.event_seq:
        words = f"the anchors reach event {held:,}, and run {record.run_id} ended with event {record.event_seq:,}"
        return SubCheck(name=_ANCHORED, status=Status.PASS, words=words, evidence=evidence)
    words = f"run {record.run_id} ended with event {record.event_seq:,}, and the anchors reach event {held:,} only"
    return SubCheck(name=_ANCHORED, status=Status.FAIL, words=words, evidence=evidence)


def _events(desk: Desk, record: RunRecord) -> SubCheck:
    with desk.given.open_trail(desk.workspace) as trail:
        actions = [event.action for event in trail.events() if event.subject == record.run_id]
    return measured(_EVENTS, AUDIT_EVENTS, Decimal(len(actions)), run=record.run_id, actions=actions)


def _clock(desk: Desk, verdicts: list[AuditVerdict]) -> SubCheck:
    """Whether events were recorded in the order of time, and none after now."""
    if not verdicts:
        return SubCheck(name=_CLOCK, status=Status.UNKNOWN, words="the ledger could not be read")
    said = list(verdicts[0].warnings)
    with desk.given.open_trail(desk.workspace) as trail:
        last = max((datetime.fromisoformat(event.recorded_at) for event in trail.events()), default=None)
    now = desk.given.tools.clock.now()
    if last is not None and last > now:
        said.append(f"an event was recorded at {last.isoformat()}, and now is {now.isoformat()}")
    if said:
        return SubCheck(name=_CLOCK, status=Status.WARN, words=said[0], evidence={"oddities": said})
    return SubCheck(name=_CLOCK, status=Status.PASS, words="every event was recorded after the one before it")
