"""Alerts: the table of moves walked over every pair; what a look at production changes, whatever comes before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import InvariantError
from abaco_loans.watch.alert import (
    MOVES,
    Alert,
    AlertStatus,
    Change,
    Notice,
    NoticeKind,
    Raise,
    Resolve,
    See,
    Severity,
    Signal,
    Worsen,
    acknowledged,
    after,
    changes,
    fingerprint,
    moved,
)

NOON = datetime(2028, 2, 28, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def alert(
    rule: str = "memory",
    severity: Severity = Severity.WARNING,
    status: AlertStatus = AlertStatus.FIRING,
    subject: str = "",
) -> Alert:
    return Alert(
        alert_id=f"a-{rule}-{subject}",
        fingerprint=fingerprint(rule, subject),
        rule=rule,
        subject=subject,
        severity=severity,
        status=status,
        words="it is so",
        owner="engineering_lead",
        runbook="docs/operations.md",
        first_seen=NOON,
        last_seen=NOON,
        seen=1,
        acknowledged_by=None,
        acknowledged_at=None,
        resolved_at=None,
        event_seq=1,
    )


def signal(rule: str = "memory", severity: Severity = Severity.WARNING, subject: str = "") -> Signal:
    return Signal(rule=rule, subject=subject, severity=severity, words=f"{rule} is {severity}")


@pytest.mark.parametrize(("before", "then"), list(product(AlertStatus, AlertStatus)))
def test_every_pair_of_moves(before: AlertStatus, then: AlertStatus) -> None:
    firing, answered, gone = AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED, AlertStatus.RESOLVED
    allowed = {(firing, answered), (firing, gone), (answered, firing), (answered, gone)}
    assert ((before, then) in MOVES) == ((before, then) in allowed)
    if (before, then) in allowed:
        assert moved(alert(status=before), then) is then
    else:
        with pytest.raises(InvariantError, match=f"is {before}"):
            moved(alert(status=before), then)


def test_what_each_change_makes_of_an_alert() -> None:
    old = alert()
    seen = after(old, See(alert_id=old.alert_id, words="still"), LATER)
    assert (seen.words, seen.seen, seen.last_seen, seen.status) == ("still", 2, LATER, AlertStatus.FIRING)
    answered = acknowledged(seen, "ana", LATER)
    assert (answered.status, answered.acknowledged_by, answered.acknowledged_at) == ("acknowledged", "ana", LATER)
    worse = after(answered, Worsen(alert_id=old.alert_id, severity=Severity.CRITICAL, words="worse"), LATER)
    assert (worse.status, worse.severity, worse.acknowledged_by, worse.acknowledged_at) == (
        "firing", "critical", None, None,
    )  # fmt: skip
    gone = after(worse, Resolve(alert_id=old.alert_id, words="gone"), LATER)
    assert (gone.status, gone.resolved_at, gone.is_open, gone.words) == ("resolved", LATER, False, "worse")


@pytest.mark.parametrize("change", [See, Resolve])
def test_what_is_resolved_or_another_alert_is_not_changed(change: type[See] | type[Resolve]) -> None:
    gone = alert(status=AlertStatus.RESOLVED)
    with pytest.raises(InvariantError):
        after(gone, change(alert_id=gone.alert_id, words=""), LATER)
    with pytest.raises(InvariantError):
        after(alert(), change(alert_id="another", words=""), LATER)


@pytest.mark.parametrize(
    ("before", "then"), [("warning", "warning"), ("critical", "warning"), ("critical", "critical")]
)
def test_worse_is_worse(before: str, then: str) -> None:
    old = alert(severity=Severity(before))
    with pytest.raises(InvariantError, match="not worse"):
        after(old, Worsen(alert_id=old.alert_id, severity=Severity(then), words=""), LATER)


def test_the_fingerprint_is_of_the_cause_alone() -> None:
    one = signal(subject="x")
    assert one.fingerprint == replace(one, severity=Severity.CRITICAL, words="other").fingerprint
    assert len({fingerprint(rule, subject) for rule in "ab" for subject in ("", "a", "b", "\n")}) == 8
    assert fingerprint("memory", "") == "a6552a4630f9ba4a"  # recorded ones must stay found


def test_a_notice_has_a_key_of_its_own() -> None:
    first = Notice(alert_id="a", kind=NoticeKind.RAISE, severity=Severity.WARNING, step=0, channel="console")
    others = [
        replace(first, alert_id="b"),
        replace(first, kind=NoticeKind.REMIND, silenced_until=NOON),
        replace(first, kind=NoticeKind.REMIND, silenced_until=LATER),
        replace(first, severity=Severity.CRITICAL),
        replace(first, step=1),
        replace(first, channel="mail"),
    ]
    assert len({item.key for item in (first, *others)}) == 7
    assert replace(first).key == first.key


# --- what a look changes ---


def test_a_new_cause_is_raised_and_a_known_one_seen() -> None:
    known = alert("cpu")
    found = changes([known], [signal("memory"), signal("cpu")], {"memory", "cpu"})
    assert found == (Raise(signal=signal("memory")), See(alert_id=known.alert_id, words="cpu is warning"))


def test_of_two_signals_of_one_cause_the_worse_counts() -> None:
    bad = signal(severity=Severity.CRITICAL)
    assert changes([], [signal(), bad, signal()], {"memory"}) == (Raise(signal=bad),)


def test_what_was_not_looked_at_resolves_nothing() -> None:
    old = alert("kpi_threshold", subject="risk.par_30")
    gone = (Resolve(alert_id=old.alert_id, words="it was looked at, and is gone"),)
    assert changes([old], [], ()) == ()
    assert changes([old], [], {"kpi_threshold"}) == gone
    assert changes([old], [], {"kpi_threshold"}, {old.fingerprint}) == ()
    assert changes([old], [], {"kpi_threshold"}, {fingerprint("kpi_threshold", "other")}) == gone
    (said,) = changes([old], [], {"kpi_threshold"}, why_gone={old.fingerprint: "the watch is over"})
    assert said == Resolve(alert_id=old.alert_id, words="the watch is over")


def test_two_open_alerts_of_one_cause_are_a_fault_of_ours() -> None:
    for wrong in ([alert(), alert()], [alert(status=AlertStatus.RESOLVED)]):
        with pytest.raises(InvariantError, match="one cause"):
            changes(wrong, [], ())


RULES = ("memory", "cpu", "validation")
LOOKS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(RULES), st.sampled_from(Severity)),
        st.frozensets(st.sampled_from(RULES)),
        st.booleans(),
    ),
    max_size=12,
)


def applied(alerts: list[Alert], made: Sequence[Change], number: int) -> None:
    """Do the changes, as the records would."""
    for change in made:
        if isinstance(change, Raise):
            new = alert(change.signal.rule, change.signal.severity)
            alerts.append(replace(new, alert_id=f"{number}-{new.alert_id}"))
        else:
            (place,) = (place for place, item in enumerate(alerts) if item.alert_id == change.alert_id)
            alerts[place] = after(alerts[place], change, LATER)


@given(LOOKS)
def test_an_episode(looks: list[tuple[dict[str, Severity], frozenset[str], bool]]) -> None:
    """One alert a cause; severity never falls; resolved only by a look; what is signalled is open, and as bad."""
    alerts: list[Alert] = []
    for number, (said, looked_at, answer) in enumerate(looks):
        before = {item.alert_id: item for item in alerts}
        open_ = [item for item in alerts if item.is_open]
        applied(alerts, changes(open_, [signal(rule, how) for rule, how in said.items()], looked_at), number)
        now_open = {item.rule: item for item in alerts if item.is_open}
        assert len(now_open) == sum(item.is_open for item in alerts)
        for rule, how in said.items():
            assert now_open[rule].severity.rank >= how.rank
        for item in alerts:
            old = before.get(item.alert_id)
            if old is None:
                continue
            assert item.severity.rank >= old.severity.rank
            if old.is_open and not item.is_open:
                assert item.rule in looked_at
                assert item.rule not in said
            if not old.is_open:
                assert item == old
        if answer:
            alerts = [acknowledged(item, "ana", LATER) if item.status == "firing" else item for item in alerts]
