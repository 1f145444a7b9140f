from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.errors import WorldError
from abaco_loans.records.locks import exclusive

CLOCK = FixedClock(datetime(2026, 3, 31, 12, tzinfo=UTC))

Child = Callable[[Callable[[], None]], int]


def held_by_child(lock: Path, in_child: Child) -> int:
    ready, tell = os.pipe()

    def work() -> None:
        with exclusive(lock, timeout_s=5, who="abaco run (run r1)", clock=CLOCK):
            os.write(tell, b"x")
            time.sleep(60)

    pid = in_child(work)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return pid


def test_holder_in_another_process_is_named_after_a_bounded_wait(tmp_path: Path, in_child: Child) -> None:
    lock = tmp_path / "run.lock"
    pid = held_by_child(lock, in_child)
    told: list[str] = []
    began = time.monotonic()
    with (
        pytest.raises(WorldError, match="REC-111") as caught,
        exclusive(lock, timeout_s=0.3, who="me", on_wait=told.append),
    ):
        pytest.fail("two hold the lock")
    assert 0.3 <= time.monotonic() - began < 3
    for part in ("abaco run (run r1)", f"process {pid}", "since 2026-03-31T12:00:00+00:00"):
        assert part in caught.value.what
    assert len(told) == 1
    assert "abaco run (run r1)" in told[0]


def test_dead_holder_holds_nothing_whatever_the_file_says(
    tmp_path: Path, in_child: Child, outcome: Callable[[int], int]
) -> None:
    lock = tmp_path / "run.lock"
    pid = held_by_child(lock, in_child)
    os.kill(pid, signal.SIGKILL)
    assert outcome(pid) == -signal.SIGKILL
    assert "abaco run" in lock.read_text(encoding="utf-8")
    with exclusive(lock, timeout_s=0, who="me"):
        assert '"me"' in lock.read_text(encoding="utf-8")
    assert lock.read_text(encoding="utf-8") == ""


def test_a_note_of_a_living_process_alone_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    lock.write_text(f'{{"pid": {os.getpid()}, "who": "ghost"}}', encoding="utf-8")
    with exclusive(lock, timeout_s=0, who="me"):
        pass


def test_waiter_gets_it_when_it_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with exclusive(lock, timeout_s=5, who="second", on_wait=lambda _: waits.set()):
            order.append("second")

    with exclusive(lock, timeout_s=0, who="first"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"who": 1}'])
def test_unreadable_note_is_no_obstacle(note: str, tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    with exclusive(lock, timeout_s=0, who="first"):
        lock.write_text(note, encoding="utf-8")
        with pytest.raises(WorldError, match="has not said who"), exclusive(lock, timeout_s=0, who="second"):
            pass


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(WorldError, match="REC-103") as caught,
        exclusive(tmp_path / "no" / "l", timeout_s=0, who="me"),
    ):
        pass
    assert caught.value.where == str(tmp_path / "no" / "l")


def test_lock_is_freed_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), exclusive(tmp_path / "l", timeout_s=0, who="me"):
        raise ValueError("boom")
    with exclusive(tmp_path / "l", timeout_s=0, who="me"):
        pass
