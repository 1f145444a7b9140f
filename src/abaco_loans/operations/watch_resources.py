"""Memory and CPU of production's processes on this machine, read from ``/proc``: this process, workers, their children.

A process id is only a hint: one whose command line is not this program's is another process by now, and left out.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

_PROC = Path("/proc")
_SAMPLE_S = 0.5
_DIGITS = Decimal("0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the processes take; None where this system does not say.

    Attributes:
        memory_mb: resident size of the largest process, in MB (10⁶ bytes).
        cpu_percent: of all processors of the machine, over half a second.
    """

    memory_mb: Decimal | None
    cpu_percent: Decimal | None


def usage(owners: Iterable[str], rest: Callable[[float], None] = time.sleep) -> Usage:
    """What this process, the workers of these names (``host-pid-...``) on this machine, and their children take."""
    if not (_PROC / "self" / "stat").is_file():
        return Usage(memory_mb=None, cpu_percent=None)
    roots = {os.getpid(), *_workers(owners)}
    begin, before = time.perf_counter(), _ticks(_tree(roots))
    rest(_SAMPLE_S)
    tree = _tree(roots)
    seconds, after = time.perf_counter() - begin, _ticks(tree)
    used = sum(ticks - before.get(pid, 0) for pid, ticks in after.items()) / os.sysconf("SC_CLK_TCK")
    largest = max((_resident(pid) for pid in tree), default=0)
    return Usage(
        memory_mb=(Decimal(largest) / 1_000_000).quantize(_DIGITS),
        cpu_percent=Decimal(max(used, 0) / seconds / (os.cpu_count() or 1) * 100).quantize(_DIGITS),
    )


def _workers(owners: Iterable[str]) -> set[int]:
    """Ids of the workers that are alive here."""
    found = set()
    for owner in owners:
        host, _, pid = owner.rpartition("-")[0].rpartition("-")
        if host != socket.gethostname() or not pid.isdecimal():
            continue
        with suppress(OSError):
            if b"abaco" in (_PROC / pid / "cmdline").read_bytes():
                found.add(int(pid))
    return found


def _tree(roots: set[int]) -> set[int]:
    """The processes and all that they started."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*"):
        stat = _stat(int(path.name))
        if stat:
            children.setdefault(int(stat[1]), []).append(int(path.name))
    found, more = set(roots), [*roots]
    while more:
        for child in children.get(more.pop(), []):
            if child not in found:
                found.add(child)
                more.append(child)
    return found


def _ticks(pids: Iterable[int]) -> dict[int, int]:
    """Clock ticks that each process has used."""
    return {pid: int(stat[11]) + int(stat[12]) for pid in pids if (stat := _stat(pid))}


def _resident(pid: int) -> int:
    """Bytes that a process holds in memory."""
    stat = _stat(pid)
    return int(stat[21]) * os.sysconf("SC_PAGE_SIZE") if stat else 0


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` after the name, which may hold any character; none when it is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
