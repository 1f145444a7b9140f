"""Who is told, and when: the chain of the specification, silences, quiet hours, and that nobody is told twice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.watch.alert import (
    Alert,
    AlertStatus,
    Notice,
    NoticeKind,
    Raise,
    Severity,
    Silence,
    acknowledged,
    after,
    changes,
)
from abaco_loans.watch.alert_policy import AlertPolicy, ConsoleTarget, QuietHours
from abaco_loans.watch.escalation import notices, silence_of, silenced
from abaco_loans.watch.rules import inhibited
from tests.watch.test_alert import NOON, alert, signal

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
MINUTE = timedelta(minutes=1)
CHAIN = AlertPolicy().chain
# A channel each, so that it can be seen who was told.
POLICY = AlertPolicy(
    channels={step.who: ConsoleTarget() for step in CHAIN},
    chain=tuple(replace(step, channels=(step.who,)) for step in CHAIN),
)


@dataclass(slots=True, kw_only=True)
class Desk:
    """One alert, what was queued for it, and a clock."""

    alert: Alert
    policy: AlertPolicy = POLICY
    silence: Silence | None = None
    inhibited: bool = False
    queued: dict[Notice, datetime] = field(default_factory=dict)

    def at(self, minutes: float) -> list[str]:
        """What is queued so many minutes after noon: kind and channel."""
        now = NOON + minutes * MINUTE
        found = notices(
            self.alert,
            policy=self.policy,
            silence=self.silence,
            inhibited=self.inhibited,
            queued=self.queued,
            now=now,
        )
        self.queued |= dict.fromkeys(found, now)
        return [f"{item.kind} {item.channel}" for item in found]


def quiet(begin: str, end: str, zone: str = "UTC") -> QuietHours:
    return QuietHours(begin=time.fromisoformat(begin), end=time.fromisoformat(end), zone=ZoneInfo(zone))


def silence(begin: float, end: float, of: Alert) -> Silence:
    return Silence(
        fingerprint=of.fingerprint, at=NOON + begin * MINUTE, until=NOON + end * MINUTE, by="ana", reason="known"
    )


def test_the_chain_of_the_specification() -> None:
    after_min = [
        (item.who, *(after and after // MINUTE for after in (item.warning_after, item.critical_after)))
        for item in CHAIN
    ]
    assert after_min == [
        ("engineering_lead", timedelta(0), timedelta(0)),
        ("data_operations", 30, 5),
        ("vp_engineering", None, 10),
        ("all_hands", None, 15),
    ]


def test_nobody_answers_a_critical_alert_for_an_hour() -> None:
    desk = Desk(alert=alert(severity=CRITICAL))
    told = {minute: found for minute in range(61) if (found := desk.at(minute))}
    assert told == {
        0: ["raise engineering_lead"],
        5: ["escalate data_operations"],
        10: ["escalate vp_engineering"],
        15: ["escalate all_hands"],
    }


def test_a_warning_goes_one_step_up() -> None:
    desk = Desk(alert=alert())
    assert {minute: found for minute in range(0, 600, 5) if (found := desk.at(minute))} == {
        0: ["raise engineering_lead"],
        30: ["escalate data_operations"],
    }


def test_who_has_answered_ends_it() -> None:
    desk = Desk(alert=alert(severity=CRITICAL))
    desk.at(0)
    desk.at(5)
    desk.alert = acknowledged(desk.alert, "ana", NOON)
    assert desk.at(6) == ["answer engineering_lead", "answer data_operations"], "who was asked hears of it"
    assert [desk.at(minute) for minute in range(7, 60)] == [[]] * 53
    desk.alert = replace(desk.alert, status=AlertStatus.RESOLVED)
    assert desk.at(60) == ["resolve engineering_lead", "resolve data_operations"]
    assert desk.at(61) == []


def test_a_tick_that_comes_late_asks_everybody_who_is_due() -> None:
    desk = Desk(alert=alert(severity=CRITICAL))
    desk.at(0)
    assert desk.at(12) == ["escalate data_operations", "escalate vp_engineering"]


def test_what_got_worse_is_told_again_and_its_time_begins_anew() -> None:
    desk = Desk(alert=alert())
    desk.at(0)
    desk.at(40)
    desk.alert = replace(desk.alert, severity=CRITICAL)
    assert [desk.at(minute) for minute in (41, 45, 46)] == [
        ["raise engineering_lead"], [], ["escalate data_operations"],
    ]  # fmt: skip


def test_what_waited_for_its_cause_asks_the_first_step_first() -> None:
    desk = Desk(alert=alert(severity=CRITICAL), inhibited=True)
    assert desk.at(0) == desk.at(59) == []
    desk.inhibited = False
    assert [desk.at(minute) for minute in (60, 64, 65)] == [
        ["raise engineering_lead"], [], ["escalate data_operations"],
    ]  # fmt: skip


def test_a_silence_and_the_reminder_at_its_end() -> None:
    desk = Desk(alert=alert(severity=CRITICAL))
    desk.at(0)
    desk.silence = silence(3, 120, desk.alert)
    assert [found for minute in range(3, 120) if (found := desk.at(minute))] == []
    assert desk.at(120) == ["remind engineering_lead"]
    assert [desk.at(minute) for minute in (121, 124, 125)] == [[], [], ["escalate data_operations"]]
    desk.silence = silence(126, 200, desk.alert)
    assert [desk.at(minute) for minute in (126, 200, 201)] == [[], ["remind engineering_lead"], []]
    assert desk.at(230) == ["escalate vp_engineering", "escalate all_hands"]


def test_what_began_in_a_silence_is_told_once_when_it_ends() -> None:
    desk = Desk(alert=alert())
    desk.silence = silence(-10, 30, desk.alert)
    assert [desk.at(minute) for minute in (0, 29, 30, 31)] == [[], [], ["remind engineering_lead"], []]
    desk.alert = replace(desk.alert, severity=CRITICAL)
    assert desk.at(32) == ["raise engineering_lead"]


def test_a_silence_that_ended_before_has_nothing_to_remind_of() -> None:
    desk = Desk(alert=alert())
    desk.silence = silence(-10, 0, desk.alert)
    assert desk.at(0) == ["raise engineering_lead"]


def test_what_is_resolved_in_a_silence_is_told_after_it_to_those_who_had_heard() -> None:
    desk = Desk(alert=alert(severity=CRITICAL))
    desk.at(0)
    desk.silence = silence(1, 10, desk.alert)
    desk.alert = replace(desk.alert, status=AlertStatus.RESOLVED)
    assert [desk.at(minute) for minute in (5, 10, 11)] == [[], ["resolve engineering_lead"], []]


def test_what_nobody_heard_of_is_not_told_as_gone() -> None:
    assert Desk(alert=alert(status=AlertStatus.RESOLVED)).at(1) == []


def test_a_channel_that_was_taken_out_of_the_file_is_not_told() -> None:
    desk = Desk(alert=alert())
    desk.at(0)
    desk.policy = replace(POLICY, channels={"console": ConsoleTarget()})
    desk.alert = replace(desk.alert, status=AlertStatus.RESOLVED)
    assert desk.at(1) == []


def test_a_silence_ends_by_a_later_word() -> None:
    first, other = silence(0, 100, alert()), silence(0, 999, alert("cpu"))
    shorter = silence(5, 20, alert())
    found = silence_of(alert().fingerprint, [shorter, first, other])
    assert found == shorter
    assert [silenced(found, NOON + minute * MINUTE) for minute in (4, 5, 19, 20)] == [False, True, True, False]
    assert silence_of("0" * 16, [first]) is None


def test_that_a_channel_is_down_is_not_told_through_it() -> None:
    desk = Desk(alert=alert("channel_down", subject="engineering_lead"))
    assert desk.at(0) == ["raise data_operations"]
    alone = Desk(alert=alert("channel_down", subject="console"), policy=AlertPolicy())
    assert alone.at(0) == []


def test_quiet_hours_hold_back_warnings_and_their_minutes() -> None:
    desk = Desk(alert=alert(), policy=replace(POLICY, quiet_hours=quiet("12:00", "13:00")))
    assert [desk.at(minute) for minute in (0, 59, 60, 89, 90)] == [
        [], [], ["raise engineering_lead"], [], ["escalate data_operations"],
    ]  # fmt: skip
    loud = Desk(alert=alert(severity=CRITICAL), policy=desk.policy)
    assert loud.at(0) == ["raise engineering_lead"]


@pytest.mark.parametrize(
    ("utc", "zone", "holds"),
    [
        ("2028-01-10T03:59", "America/Tegucigalpa", True),  # 21:59
        ("2028-01-10T12:59", "America/Tegucigalpa", True),  # 06:59
        ("2028-01-10T13:00", "America/Tegucigalpa", False),
        ("2028-01-10T03:00", "America/Tegucigalpa", True),  # 21:00
        ("2028-01-10T02:59", "America/Tegucigalpa", False),
        # Berlin: at 01:00 UTC on 26 March the clock goes from 02:00 to 03:00; on 29 October, from 03:00 to 02:00.
        ("2028-03-25T20:30", "Europe/Berlin", True),
        ("2028-03-26T04:59", "Europe/Berlin", True),  # 06:59, in summer
        ("2028-03-26T05:00", "Europe/Berlin", False),
        ("2028-10-29T05:59", "Europe/Berlin", True),  # 06:59, in winter
        ("2028-10-29T06:00", "Europe/Berlin", False),
    ],
)
def test_quiet_hours_are_those_of_the_clock_on_the_wall(utc: str, zone: str, holds: bool) -> None:
    assert quiet("21:00", "07:00", zone).hold(datetime.fromisoformat(utc).replace(tzinfo=UTC)) is holds


@given(
    st.integers(0, 2 * 366 * 24 * 60),  # minutes: two years, with every change of clocks
    st.sampled_from(["America/Tegucigalpa", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.integers(0, 23),
    st.integers(0, 23),
)
def test_nothing_critical_is_ever_held_back(minutes: int, zone: str, begin: int, end: int) -> None:
    hours = quiet(f"{begin:02}:00", f"{end:02}:30", zone)
    found = notices(
        alert(severity=CRITICAL),
        policy=replace(POLICY, quiet_hours=hours),
        silence=None,
        inhibited=False,
        queued={},
        now=NOON + minutes * MINUTE,
    )
    assert [item.channel for item in found] == ["engineering_lead"]


# --- whatever happens ---

RULES = ("error_rate", "error_budget", "rollback_proposed", "memory")
MOVES = st.lists(
    st.tuples(
        st.sampled_from([1, 4, 7, 30, 400]),  # minutes that pass
        st.dictionaries(st.sampled_from(RULES), st.sampled_from(Severity), max_size=3),
        st.frozensets(st.sampled_from(RULES)),  # rules that were looked at
        st.sampled_from(["", "", "", "answer", "silence"]),
    ),
    max_size=25,
)
TWO_EACH = tuple(replace(step, channels=(step.who, "console")) for step in CHAIN)


class House:
    """Alerts, silences and the outbox, as the records keep them."""

    def __init__(self) -> None:
        self.now = NOON
        self.alerts: dict[str, Alert] = {}
        self.silences: list[Silence] = []
        self.queued: dict[str, dict[Notice, datetime]] = {}
        self.policy = AlertPolicy(
            channels={**POLICY.channels, "console": ConsoleTarget()},
            chain=TWO_EACH,
            quiet_hours=quiet("21:00", "07:00", "Europe/Berlin"),
        )

    def look(self, said: dict[str, Severity], looked_at: frozenset[str]) -> None:
        subject = {"rollback_proposed": "error_rate"}
        found = [signal(rule, how, subject.get(rule, "")) for rule, how in said.items()]
        open_ = [item for item in self.alerts.values() if item.is_open]
        for change in changes(open_, found, looked_at):
            if isinstance(change, Raise):
                made = alert(change.signal.rule, change.signal.severity, subject=change.signal.subject)
                name = f"{len(self.alerts)}"
                self.alerts[name] = replace(made, alert_id=name, first_seen=self.now)
            else:
                self.alerts[change.alert_id] = after(self.alerts[change.alert_id], change, self.now)

    def do(self, what: str) -> None:
        open_ = [item for item in self.alerts.values() if item.status is AlertStatus.FIRING]
        for item in open_[:1]:
            if what == "answer":
                self.alerts[item.alert_id] = acknowledged(item, "ana", self.now)
            elif what == "silence":
                self.silences.append(
                    Silence(
                        fingerprint=item.fingerprint, at=self.now, until=self.now + 45 * MINUTE, by="ana", reason=""
                    )
                )

    def queue(self) -> dict[str, tuple[Notice, ...]]:
        made = {}
        for name, item in self.alerts.items():
            before = self.queued.setdefault(name, {})
            made[name] = notices(
                item,
                policy=self.policy,
                silence=silence_of(item.fingerprint, self.silences),
                inhibited=inhibited(item, self.alerts.values()),
                queued=before,
                now=self.now,
            )
            before |= dict.fromkeys(made[name], self.now)
        return made


@given(MOVES)
def test_whatever_happens_nobody_is_told_twice_or_in_vain(
    moves: list[tuple[int, dict[str, Severity], frozenset[str], str]],
) -> None:
    house, keys = House(), set[str]()
    for minutes, said, looked_at, what in moves:
        house.now += minutes * MINUTE
        house.look(said, looked_at)
        house.do(what)
        made = house.queue()
        for name, found in made.items():
            item = house.alerts[name]
            for notice in found:
                assert notice.key not in keys, "no notice twice for one key"
                keys.add(notice.key)
                assert notice.severity == item.severity
                assert not silenced(silence_of(item.fingerprint, house.silences), house.now), "silenced"
                if notice.severity is WARNING:
                    assert not quiet("21:00", "07:00", "Europe/Berlin").hold(house.now), "quiet hours"
                if notice.kind is NoticeKind.RESOLVE:
                    assert not item.is_open
                elif notice.kind is NoticeKind.ANSWER:
                    assert item.status is AlertStatus.ACKNOWLEDGED
                else:
                    assert item.status is AlertStatus.FIRING, "an acknowledged one never escalates"
                    assert not inhibited(item, house.alerts.values()), "one notice per cause"
        _everybody_was_told(house)
        assert all(found == () for found in house.queue().values()), "the same moment again asks for nothing"


def _everybody_was_told(house: House) -> None:
    """A critical alert that nothing holds back was told to its first step, at this very look."""
    for name, item in house.alerts.items():
        free = item.status is AlertStatus.FIRING and item.severity is CRITICAL
        held = silenced(silence_of(item.fingerprint, house.silences), house.now)
        if free and not held and not inhibited(item, house.alerts.values()):
            told = {notice.channel for notice in house.queued[name] if notice.severity is CRITICAL}
            assert {"engineering_lead", "console"} <= told
