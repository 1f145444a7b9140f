"""Deliveries (FAULTS 39): a channel that is down is queued and left alone, others are told, and it recovers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.operations.deliver_alerts import GIVEN_UP_AFTER, LEASE, OPEN_FOR, OPENS_AFTER, retry_at
from abaco_loans.outputs.channels.base import ChannelError
from abaco_loans.records.alerts import Delivery
from abaco_loans.watch.alert import Alert, NoticeKind, Severity
from tests.operations.alert_desk import AlertDesk
from tests.outputs.receivers import NOON, Receiver, receiver


@pytest.fixture
def team() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, team: Receiver, hook: Receiver) -> AlertDesk:
    made = AlertDesk(folder=tmp_path)
    made.receive({"team": team, "hook": hook})
    return made


def counts(desk: AlertDesk) -> tuple[int, int, int, int]:
    """How many were sent, wait, were held back and given up by delivering once."""
    found = desk.deliver()
    return len(found.sent), len(found.waiting), len(found.held), len(found.given_up)


def until_open(desk: AlertDesk) -> None:
    """Let the team's channel fail until its breaker opens."""
    for _ in range(OPENS_AFTER):
        desk.deliver()
        desk.later(minutes=3)
    desk.clock.move_to(desk.clock.now() - timedelta(minutes=3))
    assert desk.breaker("team").opened_at is not None


def the_alert(desk: AlertDesk) -> Alert:
    alert = desk.raised()
    desk.queue(alert, "team")
    return alert


def test_every_channel_is_told_once(desk: AlertDesk, team: Receiver, hook: Receiver) -> None:
    alert = desk.raised()
    desk.queue(alert, "team", "hook", "console")
    assert counts(desk) == (3, 0, 0, 0)
    assert counts(desk) == (0, 0, 0, 0)
    assert len(team.received) == len(hook.received) == len(desk.said) == 1
    assert desk.said[0].startswith("[CRITICAL] error_rate: ") and "asked: engineering_lead" in desk.said[0]
    annotations = hook.received[0].document["commonAnnotations"]
    assert annotations["means"] == "tapes fail since the last checkpoint"
    assert annotations["acknowledge"] == f'abaco alert ack {alert.alert_id} --reason "..."'
    assert {item.status for item in desk.deliveries().values()} == {"sent"}
    assert desk.actions() == ["delivery.queued"] * 3 + ["delivery.sent"] * 3


def test_each_step_asks_its_own(desk: AlertDesk, hook: Receiver) -> None:
    alert = desk.raised()
    for step in range(4):
        desk.queue(alert, "hook", kind=NoticeKind.ESCALATE if step else NoticeKind.RAISE, step=step)
    assert counts(desk) == (4, 0, 0, 0)
    asked = [item.document["commonAnnotations"]["asked"] for item in hook.received]
    assert asked == ["engineering_lead", "data_operations", "vp_engineering", "all_hands"]


def test_a_channel_that_is_down_waits_opens_its_breaker_and_recovers(
    desk: AlertDesk, team: Receiver, hook: Receiver
) -> None:
    team.answer(500)
    alert = desk.raised()
    desk.queue(alert, "team", "hook")
    assert counts(desk) == (1, 1, 0, 0), "the other channel is told"
    assert counts(desk) == (0, 0, 0, 0), "not before its time"
    for _ in range(OPENS_AFTER - 1):
        desk.later(minutes=2)
        assert counts(desk) == (0, 1, 0, 0)
    breaker = desk.breaker("team")
    assert (breaker.failures, breaker.opened_at, breaker.last_code) == (3, desk.clock.now(), "ALR-208")
    assert any("channel team failed 3 times" in line for line in desk.said)
    desk.later(minutes=3)
    other = desk.raised("memory")
    desk.queue(other, "team", "hook")
    assert counts(desk) == (1, 0, 2, 0), "what waits is held, the other channel is told"
    assert len(team.received) == 3 and len(hook.received) == 2
    desk.clock.move_to(breaker.retry_at or NOON)
    assert counts(desk) == (0, 1, 1, 0), "one message is let through as a test"
    assert len(team.received) == 4
    team.answer(200)
    desk.later(minutes=40)
    assert counts(desk) == (2, 0, 0, 0)
    assert desk.breaker("team").opened_at is None and desk.breaker("team").failures == 0
    assert {item.status for item in desk.deliveries().values()} == {"sent"}


def test_nobody_hears_that_it_is_over_before_hearing_of_it(desk: AlertDesk, hook: Receiver) -> None:
    hook.answer(503)
    alert = desk.raised()
    desk.queue(alert, "hook")
    desk.deliver()
    desk.resolve(alert)
    desk.queue(alert, "hook", kind=NoticeKind.RESOLVE)
    assert counts(desk) == (0, 0, 0, 0), "the first waits for its time, so the second does"
    hook.answer(200)
    desk.later(minutes=1)
    assert counts(desk) == (2, 0, 0, 0)
    assert [item.document["status"] for item in hook.received[-2:]] == ["firing", "resolved"]


def test_a_message_that_is_never_taken_is_given_up_at_once_and_loudly(desk: AlertDesk, team: Receiver) -> None:
    team.answer(422)
    the_alert(desk)
    assert counts(desk) == (0, 0, 0, 1)
    assert desk.actions() == ["delivery.queued", "delivery.given_up"]
    assert any(line.startswith("GIVEN UP: critical alert ") and "ALR-210" in line for line in desk.said)
    desk.later(days=1)
    assert counts(desk) == (0, 0, 0, 0)


def test_what_fails_for_a_day_is_given_up_loudly(desk: AlertDesk, team: Receiver) -> None:
    team.answer(404)
    the_alert(desk)
    given_up = 0
    while not given_up and desk.clock.now() - NOON < 2 * GIVEN_UP_AFTER:
        desk.later(hours=3)
        given_up = len(desk.deliver().given_up)
    assert given_up == 1 and desk.clock.now() - NOON == GIVEN_UP_AFTER
    assert len(team.received) == 7
    assert desk.deliveries()["team"].last_code == "ALR-209"
    assert sum(line.startswith("GIVEN UP: ") for line in desk.said) == 1


def test_what_is_held_back_for_a_day_is_given_up_and_not_sent_late(desk: AlertDesk, team: Receiver) -> None:
    team.answer(500)
    the_alert(desk)
    until_open(desk)
    seen = len(team.received)
    desk.queue(desk.raised("memory"), "team")
    with desk.records() as records:  # another process has just failed again
        desk.later(days=1)
        records.alert_writer.channel_failed("team", "ALR-208", opens_after=OPENS_AFTER, open_for=OPEN_FOR)
    assert counts(desk) == (0, 0, 0, 2)
    assert len(team.received) == seen


def test_what_a_machine_that_was_off_had_queued_is_tried_once_more(desk: AlertDesk, team: Receiver) -> None:
    the_alert(desk)
    desk.later(days=3)
    assert counts(desk) == (1, 0, 0, 0)
    team.answer(500)
    desk.queue(desk.raised("memory"), "team")
    desk.later(days=3)
    assert counts(desk) == (0, 0, 0, 1)


def test_a_configuration_that_is_mended_delivers_what_waits(desk: AlertDesk, team: Receiver) -> None:
    where = desk.environment.pop("TEAM_URL")
    the_alert(desk)
    assert counts(desk) == (0, 1, 0, 0)
    assert desk.deliveries()["team"].last_code == "ALR-202"
    assert any("TEAM_URL is not set" in line for line in desk.said)
    desk.environment["TEAM_URL"] = where
    desk.later(minutes=1)
    assert counts(desk) == (1, 0, 0, 0) and len(team.received) == 1


def test_a_delivery_to_a_channel_that_is_gone_waits(desk: AlertDesk) -> None:
    alert = desk.raised()
    desk.queue(alert, "old", "console")
    assert counts(desk) == (1, 1, 0, 0)
    assert desk.deliveries()["old"].last_code == "ALR-213"


def test_what_another_process_has_is_left_to_it_and_taken_up_when_it_dies(desk: AlertDesk, team: Receiver) -> None:
    the_alert(desk)
    with desk.records() as records:
        (waiting,) = records.alert_reader.waiting(desk.clock.now())
        assert records.alert_writer.claim(waiting.delivery_id, LEASE) is not None
    assert counts(desk) == (0, 0, 0, 0) and team.received == []
    desk.clock.move_to(NOON + LEASE + timedelta(seconds=1))
    assert counts(desk) == (1, 0, 0, 0) and len(team.received) == 1


def test_the_worst_goes_first_and_a_channel_that_fails_goes_last(desk: AlertDesk, team: Receiver) -> None:
    desk.queue(desk.raised("memory", Severity.WARNING), "console")
    desk.queue(desk.raised("error_rate"), "console")
    desk.deliver()
    assert ["CRITICAL" in line for line in desk.said] == [True, False]
    team.answer(500)
    the_alert_of_the_team = desk.raised("pipeline")
    desk.queue(the_alert_of_the_team, "team")
    desk.deliver()
    desk.later(hours=1)
    desk.said.clear()
    desk.queue(desk.raised("cpu", Severity.WARNING), "console")
    desk.deliver()
    assert ["[WARNING] cpu" in line for line in desk.said] == [True, False]


def test_no_secret_and_no_answer_is_in_the_records(desk: AlertDesk, team: Receiver, tmp_path: Path) -> None:
    desk.environment["TEAM_URL"] += "/PLANTED-URL"
    for status in (404, 500, 422):
        team.answer(status, {"Retry-After": "PLANTED-HEADER"}, b"PLANTED-ANSWER")
        desk.queue(desk.raised(subject=str(status)), "team")
        desk.deliver()
    assert len(team.received) == 3 and "PLANTED-URL" in team.received[0].path
    assert not [path.name for path in tmp_path.rglob("*") if path.is_file() and b"PLANTED" in path.read_bytes()]
    assert "PLANTED" not in "\n".join(desk.said)


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(1, 30), (2, 60), (3, 120), (6, 960), (7, 1800), (8, 1800), (10_000, 1800)]
)
def test_the_wait_doubles_up_to_half_an_hour(attempts: int, wait_s: int) -> None:
    error = ChannelError("down", code="ALR-208")
    assert retry_at(attempts, error, NOON, NOON) == NOON + timedelta(seconds=wait_s)


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    asked = ChannelError("busy", code="ALR-208", retry_after_s=600)
    assert retry_at(1, asked, NOON, NOON) == NOON + timedelta(minutes=10)
    assert retry_at(1, asked, NOON, NOON + GIVEN_UP_AFTER) is None


def test_deliveries_of_one_key_are_one(desk: AlertDesk) -> None:
    alert = the_alert(desk)
    with pytest.raises(AssertionError):
        desk.queue(alert, "team")
    found: tuple[Delivery, ...] = desk.deliver().sent
    assert len(found) == 1
