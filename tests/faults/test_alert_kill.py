"""A process that dies between raising and sending (FAULTS 1, 2): the alert still goes out, under one key."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.operations.deliver_alerts import LEASE
from tests.faults.harness import REPOSITORY, Bench, environment, lines_of
from tests.operations.alert_desk import AlertDesk
from tests.outputs.receivers import NOON, Receiver, receiver

COMMITS = "calls=fsync,fdatasync"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def child(folder: Path, hook: Receiver, point: str) -> subprocess.Popen[bytes]:
    """One process that raises and delivers."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.alert_child", str(folder), hook.url("/hook"), point],
        cwd=REPOSITORY,
        env=environment() | {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"},
    )


def taken_up(folder: Path, hook: Receiver) -> AlertDesk:
    """What the next process delivers, once the lease of the dead one has run out."""
    desk = AlertDesk(folder=folder, environment={"HOOK_URL": hook.url("/hook")})
    desk.clock.move_to(NOON + LEASE + timedelta(seconds=1))
    desk.deliver()
    assert [item.status for item in desk.deliveries().values()] == ["sent"]
    return desk


def keys(hook: Receiver) -> list[str]:
    return [item.headers["Idempotency-Key"] for item in hook.received]


@pytest.mark.parametrize("point", ["raised", "taken"])
def test_killed_between_raising_and_sending_it_is_sent_once(point: str, hook: Receiver, tmp_path: Path) -> None:
    assert child(tmp_path, hook, point).wait(60) == -signal.SIGKILL
    assert hook.received == []
    desk = taken_up(tmp_path, hook)
    assert len(keys(hook)) == 1
    assert desk.deliver().sent == () and len(keys(hook)) == 1
    assert desk.actions() == ["delivery.queued", "delivery.sent"]


def test_killed_before_its_delivery_was_recorded_it_is_sent_again_with_the_same_key(
    hook: Receiver, tmp_path: Path
) -> None:
    assert child(tmp_path, hook, "delivered").wait(60) == -signal.SIGKILL
    assert len(keys(hook)) == 1
    taken_up(tmp_path, hook)
    assert len(keys(hook)) == 2 and len(set(keys(hook))) == 1
    assert hook.received[0].body == hook.received[1].body


def test_killed_while_the_receiver_has_not_answered_it_is_sent_again_with_the_same_key(tmp_path: Path) -> None:
    with receiver(slow=True) as hook:
        process = child(tmp_path, hook, "")
        assert hook.came.wait(60)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
        hook.go.set()
        taken_up(tmp_path, hook)
    assert len(keys(hook)) == 2 and len(set(keys(hook))) == 1


def test_killed_at_every_commit_nothing_that_was_queued_is_lost_or_sent_under_two_keys(
    bench: Bench, hook: Receiver, tmp_path: Path
) -> None:
    template = tmp_path / "template"
    template.mkdir()
    with AlertDesk(folder=template).records():
        pass  # making the tables is none of this

    def run(folder: Path, order: str) -> int:
        shutil.copytree(template, folder)
        arguments = (folder, hook.url("/hook"), "")
        return bench.server.run(*arguments, order=order, entry="tests.faults.alert_child").code

    log = tmp_path / "log"
    assert run(tmp_path / "whole", f"action=count;log={log};{COMMITS}") == 0
    points = [number for number, _, _ in lines_of(log)]
    assert 16 <= len(points) < 60, "four transactions"
    seen = set()
    for number in points[::2]:
        hook.received.clear()
        folder = tmp_path / str(number)
        assert run(folder, f"action=kill;at={number};{COMMITS}") == -signal.SIGKILL
        before = len(hook.received)
        desk = AlertDesk(folder=folder, environment={"HOOK_URL": hook.url("/hook")})
        was = [item.status for item in desk.deliveries().values()]
        if was:
            taken_up(folder, hook)
            assert len(set(keys(hook))) == 1 and len(keys(hook)) <= 2, number
            assert len(keys(hook)) == before or was != ["sent"], number
        else:
            assert before == 0, "what is not queued is not sent"
        seen.add((before, *was))
    assert {(0, "queued"), (1, "sending")} <= seen, seen
