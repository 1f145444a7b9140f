"""What production's processes take: workers are found by their names, and what cannot be known is not said."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import psutil
import pytest

from abaco_loans.operations.watch_resources import usage

HELD_MB = 150


@contextmanager
def holding(*words: str) -> Iterator[int]:
    """The id of a process apart that holds memory; ``words`` stand in its command line."""
    text = (
        f"held = bytearray({HELD_MB} * 1_000_000); held[::4096] = b'x' * len(held[::4096]); print(flush=True); input()"
    )
    command = [sys.executable, "-c", text, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child.pid
        finally:
            child.kill()


def memory(*owners: str) -> Decimal:
    found = usage(owners, rest=lambda seconds: None).memory_mb
    assert found is not None
    return found


@pytest.fixture
def adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is a child of this one, so that a worker is found by its name or not at all."""
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive=False: [])


@pytest.mark.usefixtures("adopted")
def test_a_worker_is_found_by_its_name_and_another_process_is_left_out() -> None:
    alone, host = memory(), socket.gethostname()
    with holding("abaco", "worker") as pid:
        assert memory(f"{host}-{pid}-1f2e") >= HELD_MB
        assert memory(f"elsewhere-{pid}-1f2e") < alone + 50
    assert memory(f"{host}-{pid}-1f2e", f"{host}-{10**30}-x", "nonsense", "") < alone + 50  # it is gone by now
    with holding("another", "program") as pid:
        assert memory(f"{host}-{pid}-1f2e") < alone + 50


def test_children_count() -> None:
    with holding("anything"):
        assert memory() >= HELD_MB


def test_what_the_system_does_not_say_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_info", denied)
    found = usage([], rest=time.sleep)
    assert (found.memory_mb, found.cpu_percent) == (None, None)
