"""Alerts, deliveries, silences and breakers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.alert_rows import ALERT_SEALED, DELIVERY_SEALED, SILENCE_SEALED, delivery_id_of
from abaco_loans.records.alerts import LEASE_MAX, RETRY_MAX, AlertReader, AlertWriter, Breaker
from abaco_loans.records.run_rows import seal
from abaco_loans.records.store import Store, open_store
from abaco_loans.watch.alert import (
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
    Silence,
    Worsen,
    fingerprint,
)
from tests.records.conftest import NOON, Child, Sweep

MINUTE = timedelta(minutes=1)
OWNERS = {"kpi_latency": "engineering_lead", "error_rate": "data_operations"}
RUNBOOKS = {rule: f"docs/operations.md#{rule}" for rule in OWNERS}
ENDING = ": what is stored is not what was written"


@pytest.fixture
def url(url_of_each: str) -> str:
    return url_of_each


def cause(rule: str = "kpi_latency", subject: str = "", *, critical: bool = False) -> Raise:
    severity = Severity.CRITICAL if critical else Severity.WARNING
    return Raise(signal=Signal(rule=rule, subject=subject, severity=severity, words=f"{rule} is 120 ms"))


def applied(store: Store, *changes: Change, minutes: int = 0) -> tuple[Alert, ...]:
    now = NOON + minutes * MINUTE
    return store.alert_writer.apply(changes, owners=OWNERS, runbooks=RUNBOOKS, now=now)


def notice(
    alert: Alert, channel: str = "slack", kind: NoticeKind = NoticeKind.RAISE, *, step: int = 0, **more: Any
) -> Notice:
    return Notice(alert_id=alert.alert_id, kind=kind, severity=alert.severity, step=step, channel=channel, **more)


def rows(store: Store, statement: str, **values: object) -> list[dict[str, Any]]:
    with store._database.write() as connection:
        return connection.rows(statement, **values)


def whole(store: Store) -> bool:
    return store.verify().ok and store.faults() == ()


def actions(store: Store) -> list[str]:
    return [event.action for event in store.events()]


# --- alerts ---


def test_an_episode_from_raise_to_resolve(store: Store, clock: FixedClock) -> None:
    reader: AlertReader = store.alert_reader
    writer: AlertWriter = store.alert_writer
    (raised,) = applied(store, cause())
    assert raised == Alert(
        alert_id=raised.alert_id,
        fingerprint=fingerprint("kpi_latency", ""),
        rule="kpi_latency",
        subject="",
        severity=Severity.WARNING,
        status=AlertStatus.FIRING,
        words="kpi_latency is 120 ms",
        owner="engineering_lead",
        runbook="docs/operations.md#kpi_latency",
        first_seen=NOON,
        last_seen=NOON,
        seen=1,
        acknowledged_by=None,
        acknowledged_at=None,
        resolved_at=None,
        event_seq=1,
    )
    assert (reader.get(raised.alert_id), reader.open(), reader.list()) == (raised, (raised,), (raised,))
    (seen,) = applied(store, See(alert_id=raised.alert_id, words="now 130 ms"), minutes=5)
    assert seen == dataclasses.replace(raised, last_seen=NOON + 5 * MINUTE, seen=2)
    assert (reader.get(raised.alert_id), store.head().count) == (seen, 1)
    clock.move_to(NOON + 6 * MINUTE)
    answered = writer.acknowledge(raised.alert_id, "I look at it")
    assert (answered.status, answered.acknowledged_by, answered.acknowledged_at) == ("acknowledged", "ana", clock.now())
    (worse,) = applied(
        store, Worsen(alert_id=raised.alert_id, severity=Severity.CRITICAL, words="now 600 ms"), minutes=7
    )
    assert (worse.status, worse.severity, worse.words, worse.acknowledged_by, worse.seen) == (
        "firing", "critical", "now 600 ms", None, 3,
    )  # fmt: skip
    (gone,) = applied(store, Resolve(alert_id=raised.alert_id, words="it is gone"), minutes=9)
    assert (gone.status, gone.resolved_at) == ("resolved", NOON + 9 * MINUTE)
    assert (reader.open(), reader.list()) == ((), (gone,))
    assert actions(store) == ["alert.raised", "alert.acknowledged", "alert.worsened", "alert.resolved"]
    (again,) = applied(store, cause(), minutes=20)
    assert again.alert_id != raised.alert_id
    assert again.fingerprint == raised.fingerprint
    assert (reader.open(), reader.list(), reader.list(limit=1)) == ((again,), (again, gone), (again,))
    assert whole(store)


def test_what_another_process_recorded_meanwhile_counts(store: Store) -> None:
    """Two looks at once: each computed its changes from what was open before."""
    (first,) = applied(store, cause())
    (seen,) = applied(store, cause(), minutes=1)
    assert (seen.alert_id, seen.seen, seen.event_seq) == (first.alert_id, 2, first.event_seq)
    (worse,) = applied(store, cause(critical=True), minutes=2)
    assert (worse.alert_id, worse.severity) == (first.alert_id, "critical")
    (same,) = applied(store, Worsen(alert_id=first.alert_id, severity=Severity.CRITICAL, words="again"), minutes=3)
    assert (same.severity, same.seen, same.event_seq) == ("critical", 4, worse.event_seq)
    (gone,) = applied(store, Resolve(alert_id=first.alert_id, words="gone"), minutes=4)
    for change in (
        Resolve(alert_id=first.alert_id, words="gone"),
        See(alert_id=first.alert_id, words="still"),
        Worsen(alert_id=first.alert_id, severity=Severity.CRITICAL, words="worse"),
    ):
        assert applied(store, change, minutes=5) == (gone,)
    assert store.alert_writer.acknowledge(first.alert_id, "late") == gone
    twice = applied(store, cause("error_rate"), cause("error_rate"), minutes=6)
    assert len({alert.alert_id for alert in twice}) == 1
    assert actions(store) == ["alert.raised", "alert.worsened", "alert.resolved", "alert.raised"]
    assert whole(store)


def test_only_one_that_fires_is_acknowledged(store: Store) -> None:
    (raised,) = applied(store, cause())
    answered = store.alert_writer.acknowledge(raised.alert_id, "mine")
    with_event = store.head()
    assert store.alert_writer.acknowledge(raised.alert_id, "mine too") == answered
    assert store.head() == with_event
    for call in (
        lambda: store.alert_writer.acknowledge("nobody", ""),
        lambda: applied(store, See(alert_id="nobody", words="")),
        lambda: store.alert_writer.queue([dataclasses.replace(notice(raised), alert_id="nobody")]),
        lambda: store.alert_writer.claim("nobody", MINUTE),
        lambda: store.alert_writer.sent("nobody"),
    ):
        with pytest.raises(InvariantError, match="there is none"):
            call()
    assert store.head() == with_event


def test_a_look_is_recorded_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(InvariantError):
        applied(store, cause(), See(alert_id="nobody", words=""))
    assert (store.alert_reader.list(), store.head().count) == ((), 0)


def test_the_database_refuses_a_second_open_alert_of_a_cause(store: Store) -> None:
    applied(store, cause())
    (row,) = rows(store, "SELECT * FROM alerts")
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with pytest.raises(InvariantError, match="the database refused a row"):
        rows(store, f"INSERT INTO alerts ({names}) VALUES ({values})", **(row | {"alert_id": "b"}))


def test_the_latest_silence_of_a_cause_stands(store: Store, clock: FixedClock) -> None:
    mark, other = fingerprint("kpi_latency", ""), fingerprint("error_rate", "")
    first = store.alert_writer.silence(mark, NOON + 60 * MINUTE, "known")
    assert first == Silence(fingerprint=mark, until=NOON + 60 * MINUTE, by="ana", reason="known", at=NOON)
    store.alert_writer.silence(other, NOON + MINUTE, "")
    clock.move_to(NOON + 10 * MINUTE)
    again = store.alert_writer.silence(mark, NOON + 11 * MINUTE, "shorter")
    assert {item.fingerprint: item for item in store.alert_reader.silences()}[mark] == again
    assert len(store.alert_reader.silences()) == 2
    assert [event.payload["until"] for event in store.events()] == [
        (NOON + minutes * MINUTE).isoformat(timespec="microseconds") for minutes in (60, 1, 11)
    ]
    assert whole(store)


# --- deliveries ---


def test_a_notice_is_queued_once_under_its_key(store: Store, clock: FixedClock) -> None:
    (alert,) = applied(store, cause())
    remind = notice(alert, kind=NoticeKind.REMIND, silenced_until=NOON + MINUTE)
    made = store.alert_writer.queue([notice(alert), remind, notice(alert)])
    assert [item.notice for item in made] == [notice(alert), remind]
    first = made[0]
    assert (first.delivery_id, first.alert_id, first.key) == (
        delivery_id_of(first.key), alert.alert_id, notice(alert).key,
    )  # fmt: skip
    assert (first.status, first.queued_at, first.next_at, first.attempts) == ("queued", NOON, NOON, 0)
    before = store.head()
    clock.move_to(NOON + 5 * MINUTE)
    assert store.alert_writer.queue([remind, notice(alert)]) == ()
    assert store.head() == before
    later = dataclasses.replace(remind, silenced_until=NOON + 2 * MINUTE)
    assert [item.notice for item in store.alert_writer.queue([later])] == [later]
    assert {item.key for item in store.alert_reader.deliveries(alert.alert_id)} == {
        notice(alert).key, remind.key, later.key,
    }  # fmt: skip
    assert store.alert_reader.deliveries("nobody") == ()
    assert len(store.alert_reader.deliveries(limit=2)) == 2
    assert whole(store)


def test_a_delivery_is_tried_until_it_is_sent(store: Store, clock: FixedClock) -> None:
    writer, reader = store.alert_writer, store.alert_reader
    (alert,) = applied(store, cause())
    (queued,) = writer.queue([notice(alert)])
    assert reader.waiting(NOON) == (queued,)
    taken = writer.claim(queued.delivery_id, MINUTE)
    assert taken is not None
    assert (taken.status, taken.attempts, taken.lease_until) == ("sending", 1, NOON + MINUTE)
    assert (reader.waiting(NOON), writer.claim(queued.delivery_id, MINUTE)) == ((), None)
    tried = writer.failed(queued.delivery_id, "ALR-201", NOON + 5 * MINUTE, attempt=1)
    assert (tried.status, tried.last_code, tried.next_at) == ("queued", "ALR-201", NOON + 5 * MINUTE)
    clock.move_to(NOON + 4 * MINUTE)
    assert (reader.waiting(clock.now()), writer.claim(queued.delivery_id, MINUTE)) == ((), None)
    clock.move_to(NOON + 5 * MINUTE)
    assert reader.waiting(clock.now()) == (tried,)
    assert writer.claim(queued.delivery_id, MINUTE) is not None
    done = writer.sent(queued.delivery_id)
    assert (done.status, done.sent_at, done.attempts, done.last_code) == ("sent", clock.now(), 2, "")
    before = store.head()
    assert writer.sent(queued.delivery_id) == done
    assert writer.failed(queued.delivery_id, "ALR-201", None, attempt=2) == done
    assert writer.claim(queued.delivery_id, MINUTE) is None
    assert (store.head(), reader.waiting(clock.now()), reader.deliveries()) == (before, (), (done,))
    assert actions(store) == ["alert.raised", "delivery.queued", "delivery.sent"]
    assert whole(store)


def test_a_delivery_that_is_given_up_says_why(store: Store, clock: FixedClock) -> None:
    (alert,) = applied(store, cause())
    (queued,) = store.alert_writer.queue([notice(alert)])
    store.alert_writer.claim(queued.delivery_id, MINUTE)
    given_up = store.alert_writer.failed(queued.delivery_id, "ALR-203", None, attempt=1)
    assert (given_up.status, given_up.last_code, given_up.lease_until) == ("given_up", "ALR-203", None)
    clock.move_to(NOON + timedelta(days=3))
    assert store.alert_reader.waiting(clock.now()) == ()
    assert store.alert_writer.claim(queued.delivery_id, MINUTE) is None
    last = list(store.events())[-1]
    assert (last.action, last.payload["code"], last.payload["attempts"]) == ("delivery.given_up", "ALR-203", 1)
    assert whole(store)


def test_one_that_died_is_taken_up_after_its_lease_and_cannot_come_back(store: Store, clock: FixedClock) -> None:
    writer = store.alert_writer
    (alert,) = applied(store, cause())
    (queued,) = writer.queue([notice(alert)])
    writer.claim(queued.delivery_id, MINUTE)
    clock.move_to(NOON + MINUTE)
    second = writer.claim(queued.delivery_id, MINUTE)
    assert second is not None
    assert second.attempts == 2
    # The first was only slow. That it failed says nothing of the one who has it now; that it was sent is a fact.
    assert writer.failed(queued.delivery_id, "ALR-201", None, attempt=1) == second
    assert writer.sent(queued.delivery_id).status == "sent"
    assert writer.failed(queued.delivery_id, "ALR-201", None, attempt=2).status == "sent"
    assert whole(store)


def test_one_alert_goes_through_a_channel_in_order(store: Store, clock: FixedClock) -> None:
    """Else a retry of the raise after the resolve leaves a page open for ever."""
    writer, reader = store.alert_writer, store.alert_reader
    alert, other = applied(store, cause(), cause("error_rate"))
    resolve = notice(alert, kind=NoticeKind.RESOLVE)
    raised, mail, gone, last = writer.queue([notice(alert), notice(alert, "mail"), resolve, notice(other)])
    assert reader.waiting(NOON) == (raised, mail, last)
    assert writer.claim(gone.delivery_id, MINUTE) is None
    writer.claim(raised.delivery_id, MINUTE)
    writer.failed(raised.delivery_id, "ALR-201", NOON + 5 * MINUTE, attempt=1)
    assert reader.waiting(NOON) == (mail, last)
    clock.move_to(NOON + 5 * MINUTE)
    writer.claim(raised.delivery_id, MINUTE)
    writer.failed(raised.delivery_id, "ALR-201", None, attempt=2)
    assert reader.waiting(clock.now()) == (mail, gone, last)
    assert writer.claim(gone.delivery_id, MINUTE) is not None


def test_a_clock_that_was_wrong_holds_nothing_back_for_ever(store: Store, clock: FixedClock) -> None:
    writer = store.alert_writer
    (alert,) = applied(store, cause())
    one, two = writer.queue([notice(alert), notice(alert, "mail")])
    clock.move_to(NOON + timedelta(days=900))
    writer.claim(one.delivery_id, MINUTE)
    writer.claim(two.delivery_id, MINUTE)
    writer.failed(two.delivery_id, "ALR-201", clock.now() + MINUTE, attempt=1)
    clock.move_to(NOON + MINUTE)
    assert [item.delivery_id for item in store.alert_reader.waiting(clock.now())] == [one.delivery_id, two.delivery_id]
    assert writer.claim(one.delivery_id, MINUTE) is not None


@pytest.mark.parametrize("lease", [timedelta(), -MINUTE, LEASE_MAX + MINUTE])
def test_a_lease_has_bounds(lease: timedelta, store: Store) -> None:
    (alert,) = applied(store, cause())
    (queued,) = store.alert_writer.queue([notice(alert)])
    with pytest.raises(InvariantError, match="lease"):
        store.alert_writer.claim(queued.delivery_id, lease)
    store.alert_writer.claim(queued.delivery_id, MINUTE)
    for next_at in (NOON, NOON - MINUTE, NOON + RETRY_MAX + MINUTE):
        with pytest.raises(InvariantError, match="next try"):
            store.alert_writer.failed(queued.delivery_id, "ALR-201", next_at, attempt=1)


def test_two_processes_never_have_one_delivery(
    store: Store, url: str, in_child: Child, outcome: Callable[[int], int]
) -> None:
    """Each takes what it can; each delivery is taken once, and what a killed one had is taken by the next."""
    (alert,) = applied(store, cause())
    store.alert_writer.queue([notice(alert, f"channel{number}") for number in range(20)])
    lease = timedelta(minutes=5)

    def work() -> None:
        with open_store(url, clock=SystemClock(), actor=str(os.getpid()), timeout_s=30) as mine:
            for item in mine.alert_reader.waiting(SystemClock().now()):
                if mine.alert_writer.claim(item.delivery_id, lease):
                    mine.alert_writer.sent(item.delivery_id)

    def die() -> None:
        with open_store(url, clock=SystemClock(), actor=str(os.getpid()), timeout_s=30) as mine:
            first, *_ = mine.alert_reader.waiting(SystemClock().now())
            mine.alert_writer.claim(first.delivery_id, lease)
            os.kill(os.getpid(), signal.SIGKILL)

    assert outcome(in_child(die)) == -signal.SIGKILL
    assert [outcome(pid) for pid in (in_child(work), in_child(work))] == [0, 0]
    left = [item for item in store.alert_reader.deliveries() if item.status != "sent"]
    assert [(item.status, item.attempts) for item in left] == [("sending", 1)]
    assert {item.attempts for item in store.alert_reader.deliveries()} == {1}
    later = SystemClock().now() + lease
    assert [item.delivery_id for item in store.alert_reader.waiting(later)] == [left[0].delivery_id]
    assert whole(store)


# --- breakers ---


def test_a_breaker_opens_and_closes(store: Store, clock: FixedClock) -> None:
    writer, reader = store.alert_writer, store.alert_reader
    fail = {"opens_after": 3, "open_for": 10 * MINUTE}
    for failures in (1, 2):
        made = writer.channel_failed("slack", "ALR-201", **fail)  # type: ignore[arg-type]
        assert (made.failures, made.opened_at, made.holds_back(NOON)) == (failures, None, False)
    opened = writer.channel_failed("slack", "ALR-202", **fail)  # type: ignore[arg-type]
    assert opened == Breaker(
        channel="slack", failures=3, opened_at=NOON, retry_at=NOON + 10 * MINUTE, last_code="ALR-202"
    )
    assert [opened.holds_back(NOON + minutes * MINUTE) for minutes in (0, 9, 10)] == [True, True, False]
    assert not opened.holds_back(NOON - timedelta(days=900))
    writer.channel_failed("mail", "ALR-201", **fail)  # type: ignore[arg-type]
    assert [item.channel for item in reader.breakers()] == ["mail", "slack"]
    clock.move_to(NOON + 10 * MINUTE)
    still = writer.channel_failed("slack", "ALR-201", **fail)  # type: ignore[arg-type]
    assert (still.opened_at, still.retry_at) == (NOON, NOON + 20 * MINUTE)
    closed = writer.channel_worked("slack")
    assert (closed.failures, closed.opened_at, closed.holds_back(clock.now())) == (0, None, False)
    assert reader.breakers()[1] == closed
    assert store.head().count == 0


# --- killed, and altered ---


@pytest.mark.parametrize("call", ["apply", "acknowledge", "silence", "queue", "sent", "given up"])
def test_killed_between_any_two_statements_leaves_both_or_neither(
    call: str, sqlite_url: str, clock: FixedClock, kill_between: Sweep
) -> None:
    with open_store(sqlite_url, clock=clock, actor="ana") as store:
        (alert,) = applied(store, cause())
        (queued,) = store.alert_writer.queue([notice(alert)])
        store.alert_writer.claim(queued.delivery_id, MINUTE)
    changes = (Worsen(alert_id=alert.alert_id, severity=Severity.CRITICAL, words="worse"), cause("error_rate"))
    calls: dict[str, Callable[[Store], object]] = {
        "apply": lambda store: applied(store, *changes),
        "acknowledge": lambda store: store.alert_writer.acknowledge(alert.alert_id, "mine"),
        "silence": lambda store: store.alert_writer.silence(alert.fingerprint, NOON + MINUTE, ""),
        "queue": lambda store: store.alert_writer.queue([notice(alert, "mail"), notice(alert, "pager")]),
        "sent": lambda store: store.alert_writer.sent(queued.delivery_id),
        "given up": lambda store: store.alert_writer.failed(queued.delivery_id, "ALR-201", None, attempt=1),
    }

    def seen(store: Store) -> object:
        return store.alert_reader.list(), store.alert_reader.deliveries(), store.alert_reader.silences()

    kill_between(calls[call], seen)


def played(store: Store) -> tuple[str, str]:
    """An alert that is acknowledged and another that is gone; a delivery that is sent and one that waits; a silence."""
    first, second = applied(store, cause(), cause("error_rate"))
    applied(store, Resolve(alert_id=second.alert_id, words="gone"))
    store.alert_writer.acknowledge(first.alert_id, "mine")
    queued, _ = store.alert_writer.queue([notice(first), notice(first, "mail")])
    store.alert_writer.claim(queued.delivery_id, MINUTE)
    store.alert_writer.sent(queued.delivery_id)
    store.alert_writer.silence(first.fingerprint, NOON + MINUTE, "known")
    return first.alert_id, queued.delivery_id


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE alerts SET words = 'all is well' WHERE rule = 'kpi_latency'", "alert"),
        ("UPDATE alerts SET acknowledged_by = 'ben' WHERE rule = 'kpi_latency'", "alert"),
        ("UPDATE alerts SET status = 'resolved', open_as = NULL WHERE rule = 'kpi_latency'", "alert"),
        ("DELETE FROM alerts WHERE rule = 'error_rate'", "alert"),
        ("UPDATE deliveries SET status = 'given_up' WHERE channel = 'slack'", "delivery"),
        ("UPDATE deliveries SET channel = 'nobody' WHERE channel = 'slack'", "delivery"),
        ("DELETE FROM deliveries WHERE channel = 'slack'", "delivery"),
        ("UPDATE silences SET silenced_until = '2030-01-01T00:00:00.000000+00:00'", "silence"),
        ("DELETE FROM silences", "silence"),
        ("UPDATE events SET payload = '[]' WHERE action = 'alert.silenced'", "silence"),
    ],
)
def test_altered_rows_are_never_shown(statement: str, found: str, file_store: Store) -> None:
    store = file_store
    alert_id, delivery_id = played(store)
    reader, writer = store.alert_reader, store.alert_writer
    assert (len(reader.list()), len(reader.deliveries()), store.faults()) == (2, 2, ())
    rows(store, statement)
    (fault,) = store.faults()
    assert found in fault
    assert fault.endswith(ENDING)
    mark = fingerprint("kpi_latency", "")
    reads: dict[str, Sequence[Callable[[], object]]] = {
        "alert": (reader.open, reader.list, lambda: applied(store, cause("error_rate"))),
        "delivery": (lambda: writer.claim(delivery_id, MINUTE), lambda: writer.sent(delivery_id)),
        "silence": (reader.silences, lambda: writer.silence(mark, NOON, "")),
    }
    for read in reads[found]:
        with pytest.raises(WorldError, match="REC-105"):
            read()
    if found == "alert" and "kpi_latency" in statement:
        with pytest.raises(WorldError, match="REC-105"):
            reader.get(alert_id)


@pytest.mark.parametrize(
    ("table", "sealed", "where", "change"),
    [
        ("alerts", ALERT_SEALED, "rule = 'kpi_latency'", {"severity": "critical"}),
        ("deliveries", DELIVERY_SEALED, "channel = 'mail'", {"status": "sent"}),
        ("silences", SILENCE_SEALED, "reason = 'known'", {"silenced_by": "ben"}),
    ],
)
def test_a_row_with_a_fresh_seal_is_found_by_the_ledger(
    table: str, sealed: list[str], where: str, change: dict[str, str], store: Store
) -> None:
    played(store)
    (row,) = rows(store, f"SELECT * FROM {table} WHERE {where}")
    forged = change | {"seal": seal(row | change, sealed)}
    rows(store, f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in forged)} WHERE {where}", **forged)
    assert len(store.faults()) == 1


def test_a_delivery_that_was_taken_out_is_not_queued_again_in_silence(file_store: Store) -> None:
    (alert,) = applied(file_store, cause())
    file_store.alert_writer.queue([notice(alert)])
    rows(file_store, "DELETE FROM deliveries")
    with pytest.raises(WorldError, match="REC-105"):
        file_store.alert_writer.queue([notice(alert)])
