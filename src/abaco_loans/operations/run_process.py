"""Run one foreign process to its end, or to its limits; when this returns, nothing of it runs (see `launch`)."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from abaco_loans.errors import InvariantError

STDERR_BYTES_MAX = 16_000_000
_KEEPER = Path(__file__).with_name("launch.py")
_TAIL_BYTES = 4096
_GRACE_S = 15
_CHUNK = 1 << 16


class Stopped(StrEnum):
    """Why a process was killed."""

    TIMEOUT = "timeout"
    FLOOD = "flood"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run, and what it may take.

    ``writable`` are the folders that it may write below; ``memory_bytes`` is the address space of each process.
    """

    argv: tuple[str, ...]
    folder: Path
    writable: tuple[Path, ...]
    environment: Mapping[str, str]
    timeout_s: int
    memory_bytes: int
    file_bytes_max: int
    stdout_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How it ended.

    Attributes:
        stopped: why it was killed, if it was.
        exit_code: negative for a signal; None where it was killed by us or by who killed its keeper.
        not_started: why it could not be started, or nothing.
        stderr_tail: the last bytes of what it said there.
        seconds: wall-clock, from start to end of the process itself.
        memory_bytes: largest resident size of one process of it.
        isolation: what was in force: ``memory``, ``writes``, ``signals``, ``orphans``.
    """

    stopped: Stopped | None
    exit_code: int | None
    not_started: str
    stdout: bytes
    stderr_tail: bytes
    seconds: float
    memory_bytes: int
    isolation: tuple[str, ...]


class _Seen:
    """What was read from the pipes."""

    def __init__(self, stdout_bytes_max: int) -> None:
        self.text = {name: bytearray() for name in ("report", "stdout", "stderr")}
        self._stdout_bytes_max = stdout_bytes_max
        self._stderr_bytes = 0

    def take(self, name: str, data: bytes) -> None:
        """Keep what came through a pipe; of stderr only the end."""
        self.text[name] += data
        if name == "stderr":
            self._stderr_bytes += len(data)
            del self.text[name][:-_TAIL_BYTES]

    @property
    def is_flood(self) -> bool:
        """Whether more came than may come."""
        return len(self.text["stdout"]) > self._stdout_bytes_max or self._stderr_bytes > STDERR_BYTES_MAX

    @property
    def facts(self) -> dict[str, Any]:
        """What the keeper told so far; a line that is not whole says nothing."""
        found: dict[str, Any] = {}
        for line in bytes(self.text["report"]).splitlines(keepends=True):
            if line.endswith(b"\n"):
                found |= json.loads(line)
        return found


def run_process(order: Order) -> Ended:
    """Start the keeper, read until it has told the end, stop the process where it must be stopped."""
    reading, writing = os.pipe()
    seen = _Seen(order.stdout_bytes_max)
    with os.fdopen(reading, "rb", buffering=0) as report:
        try:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(writing,),
                start_new_session=True,
                cwd=order.folder,
            )
        finally:
            os.close(writing)
        with keeper:
            try:
                stopped = _watch(keeper, report, order, seen)
            finally:
                _put_down(keeper, seen)
    facts = seen.facts
    return Ended(
        stopped=stopped,
        exit_code=None if stopped or "status" not in facts else os.waitstatus_to_exitcode(facts["status"]),
        not_started=facts.get("failed", ""),
        stdout=bytes(seen.text["stdout"]),
        stderr_tail=bytes(seen.text["stderr"]),
        seconds=facts.get("seconds", 0),
        memory_bytes=facts.get("memory_bytes", 0),
        isolation=tuple(facts.get("isolation", ())),
    )


def _watch(keeper: subprocess.Popen[bytes], report: IO[bytes], order: Order, seen: _Seen) -> Stopped | None:
    """Read until the keeper has told the end; past a limit pull the leash, and wait for the end alone."""
    if keeper.stdin is None or keeper.stdout is None or keeper.stderr is None:
        raise InvariantError("the keeper was started without pipes")
    until = time.monotonic() + order.timeout_s
    told = {
        "argv": order.argv,
        "folder": str(order.folder),
        "writable": [str(folder) for folder in order.writable],
        "environment": dict(order.environment),
        "memory_bytes": order.memory_bytes,
        "file_bytes_max": order.file_bytes_max,
    }
    with contextlib.suppress(BrokenPipeError):  # it died at once: the report ends, and tells
        keeper.stdin.write(json.dumps(told).encode() + b"\n")
    said = {"stdout": keeper.stdout, "stderr": keeper.stderr}
    stopped = _read({"report": report, **said}, seen, until)
    if stopped is None:
        _drain(said, seen)
        return Stopped.FLOOD if seen.is_flood else None
    keeper.stdin.close()
    _read({"report": report}, seen, time.monotonic() + _GRACE_S)
    return stopped


def _read(pipes: Mapping[str, IO[bytes]], seen: _Seen, until: float) -> Stopped | None:
    """Read the pipes until the report ends; if output or time run out before, which of them."""
    with selectors.DefaultSelector() as selector:
        for name, pipe in pipes.items():
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, name)
        while True:
            for key, _ in selector.select(max(0, until - time.monotonic())):
                data = os.read(key.fd, _CHUNK)
                seen.take(key.data, data)
                if not data and key.data == "report":
                    return None
                if not data:
                    selector.unregister(key.fileobj)
            if "stdout" in pipes and seen.is_flood:
                return Stopped.FLOOD
            if time.monotonic() >= until:
                return Stopped.TIMEOUT


def _drain(pipes: Mapping[str, IO[bytes]], seen: _Seen) -> None:
    """Take what still stands in the pipes; who may hold them open is not waited for."""
    for name, pipe in pipes.items():
        with contextlib.suppress(BlockingIOError):
            while not seen.is_flood and (data := os.read(pipe.fileno(), _CHUNK)):
                seen.take(name, data)


def _put_down(keeper: subprocess.Popen[bytes], seen: _Seen) -> None:
    """Whatever happened: nothing runs afterwards."""
    if keeper.stdin:
        keeper.stdin.close()
    try:
        keeper.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
    facts = seen.facts
    if "pid" in facts and "status" not in facts:  # the keeper was killed, and could not end its process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(facts["pid"], signal.SIGKILL)
