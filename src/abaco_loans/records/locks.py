"""One at a time: a lock that the kernel holds for a process and drops when the process dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from abaco_loans.account import account
from abaco_loans.clock import Clock, SystemClock
from abaco_loans.errors import WorldError

_POLL_S = 0.05


@contextmanager
def exclusive(
    path: Path,
    *,
    timeout_s: float,
    who: str,
    clock: Clock | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold the lock of ``path`` for the length of the block.

    The kernel decides (``flock``): a dead holder holds nothing. The file says who holds it and since when, as
    information only; no process id is ever trusted. The file stays: removing it would let two in. The lock is
    between processes of one machine, and between threads; a forked child shares its parent's.

    Args:
        path: the lock file; made when absent, readable by its owner only.
        timeout_s: seconds to wait at most; 0 tries once.
        who: what a person who has to wait should read, such as ``abaco run (run 3f2a)``.
        clock: gives the time that is written down; how long to wait is measured apart from it.
        on_wait: called once, with the holder's description, when the lock is not free at once.

    Raises:
        WorldError: REC-111 still held after ``timeout_s``, naming holder and since when; REC-103 the file
            cannot be opened or locked.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _acquire(handle, path, timeout_s, on_wait)
        _write(handle, _description(who, clock or SystemClock()))
        try:
            yield
        finally:
            _write(handle, b"")
    finally:
        os.close(handle)


def _acquire(handle: int, path: Path, timeout_s: float, on_wait: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + timeout_s
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        except OSError as error:
            raise _unusable(path, error) from error
        else:
            return
        if not told and on_wait is not None:
            on_wait(holder(path))
        told = True
        left = deadline - time.monotonic()
        if left <= 0:
            raise WorldError(
                f"waited {timeout_s:g} s for {holder(path)}",
                code="REC-111",
                where=str(path),
                hint="wait until it is done and try again; if it hangs, end it: its lock goes with it",
            )
        time.sleep(min(_POLL_S, left))


def holder(path: Path) -> str:
    """Who says to hold the lock of ``path`` and since when, for people; it decides nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        place = f"{said['user']} on {said['host']} (process {said['pid']})"
        return f"{said['who']}, held by {place} since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process that has not said who it is"


def _description(who: str, clock: Clock) -> bytes:
    said = {
        "who": who,
        "user": account(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": clock.now().isoformat(timespec="seconds"),
    }
    return json.dumps(said, ensure_ascii=False).encode()


def _write(handle: int, content: bytes) -> None:
    """Replace the note in the lock file; a full disk costs the note, never the lock."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, content, 0)
    except OSError:
        return


def _unusable(path: Path, error: OSError) -> WorldError:
    return WorldError(
        f"cannot lock: {error.strerror or error}",
        code="REC-103",
        where=str(path),
        hint="the folder must exist, be writable by you, and be on a file system with locks",
    )
