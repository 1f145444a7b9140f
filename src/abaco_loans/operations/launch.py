"""The keeper of one foreign program: starts it under limits, and sees to it that nothing of it stays behind.

`run_command` runs this file by its path, with an interpreter that loads nothing else, so that limits are set between
fork and exec in a process of one thread. It is told what to do in one line of JSON on stdin; when stdin closes, for
whatever reason (time is up, the parent died), the program is killed. What happened goes to a pipe, one JSON object a
line: ``pid``; ``isolation`` (what is in force) or ``failed``; ``status, seconds, memory_bytes``.

Linux: writes are confined by Landlock to the given folders, signals to the program's own processes; processes that
leave its group become children of the keeper, and are killed too. Elsewhere the group alone is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

_LINUX = sys.platform == "linux"
_SUBREAPER, _NO_NEW_PRIVILEGES = 36, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _TRUNCATE, _REFER = 1 << 1, 1 << 14, 1 << 13
_CHANGE = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # write, remove and make anything
_SCOPE_SIGNAL = 1 << 1
_SWEEP_S = 5
_NOT_STARTED = 127


def main(report: int) -> None:
    """Keep one program; ``report`` is the pipe that is told."""
    order = json.loads(sys.stdin.buffer.readline())
    os.set_inheritable(report, False)
    if _LINUX:
        _library().prctl(_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(order, report)
    _tell(report, pid=child)
    ended = None
    while ended is None:
        ready, _, _ = select.select([sys.stdin.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            ended = _reaped(child)
        elif os.read(sys.stdin.fileno(), 1) == b"":
            os.kill(child, signal.SIGKILL)
            _, *ended = os.wait4(child, 0)
    seconds = time.monotonic() - started
    _kill_group(child)
    _sweep()
    status, usage = ended
    _tell(report, status=status, seconds=seconds, memory_bytes=usage.ru_maxrss * (1024 if _LINUX else 1))


def _tell(report: int, **facts: object) -> None:
    os.write(report, json.dumps(facts).encode() + b"\n")


def _reaped(child: int) -> list[Any] | None:
    """Status and usage of the program if it ended; orphans that end are reaped on the way."""
    while True:
        pid, *ended = os.wait4(-1, os.WNOHANG)
        if pid == child:
            return ended
        if pid == 0:
            return None


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody is left (macOS: only zombies)
        return


def _sweep() -> None:
    """Kill whoever became a child of the keeper because its own parent is gone, until nobody is left."""
    until = time.monotonic() + _SWEEP_S
    while time.monotonic() < until:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.002)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def _become(order: dict[str, Any], report: int) -> None:
    """Turn into the program; never returns."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(order["folder"])
        isolation = _confine(order["writable"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit(resource.RLIMIT_FSIZE, order["file_bytes_max"])
        if _limit(resource.RLIMIT_AS, order["memory_bytes"]):
            isolation.append("memory")
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # the interpreter ignores them, and that is inherited
            signal.signal(number, signal.SIG_DFL)
        _tell(report, isolation=isolation)
        os.execvpe(order["argv"][0], order["argv"], order["environment"])
    except (OSError, ValueError, MemoryError) as error:
        _tell(report, failed=str(error))
    finally:
        os._exit(_NOT_STARTED)


def _limit(kind: int, most: int) -> bool:
    """Set a limit as far as the system lets us; whether it did."""
    hard = resource.getrlimit(kind)[1]
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(kind, (least, least))
    except (OSError, ValueError):
        return False
    return True


def _confine(writable: list[str]) -> list[str]:
    """Let this process and all that come from it write below these folders only; what is in force then."""
    if not _LINUX:
        return []
    kernel = _library()
    version = kernel.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return ["orphans"]
    handled = _CHANGE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    scoped = _SCOPE_SIGNAL if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = kernel.syscall(_CREATE_RULESET, struct.pack("QQQ", handled, 0, scoped), size, 0)
    _checked(rules)
    on_file = handled & (_WRITE_FILE | _TRUNCATE)
    for path, allowed in [*((folder, handled) for folder in writable), (os.devnull, on_file)]:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        _checked(kernel.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, place), 0))
        os.close(place)
    _checked(kernel.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(kernel.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)
    return ["orphans", "writes", *(["signals"] if scoped else [])]


def _library() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(int(sys.argv[1]))
