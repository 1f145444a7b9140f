"""Memory and CPU of production's processes on this machine: this process, workers, and their children.

A process id is only a hint: one whose command line is not this program's is another process by now, and left out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

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
    import psutil

    try:
        roots = [psutil.Process(), *_workers(owners)]
        begin, before = time.perf_counter(), _seconds(_tree(roots))
        rest(_SAMPLE_S)
        tree = _tree(roots)
        elapsed, after = time.perf_counter() - begin, _seconds(tree)
        used = sum(seconds - before.get(process, 0) for process, seconds in after.items())
        largest = max(_resident(process) for process in tree)
        return Usage(
            memory_mb=(Decimal(largest) / 1_000_000).quantize(_DIGITS),
            cpu_percent=Decimal(max(used, 0) / elapsed / (psutil.cpu_count() or 1) * 100).quantize(_DIGITS),
        )
    except (psutil.Error, OSError, NotImplementedError):
        return Usage(memory_mb=None, cpu_percent=None)


def _workers(owners: Iterable[str]) -> list[psutil.Process]:
    """The workers that are alive here."""
    import psutil

    found = []
    for owner in owners:
        host, _, pid = owner.rpartition("-")[0].rpartition("-")
        if host != socket.gethostname() or not pid.isdecimal():
            continue
        with suppress(psutil.Error, OverflowError):
            process = psutil.Process(int(pid))
            if any("abaco" in word for word in process.cmdline()):
                found.append(process)
    return found


def _tree(roots: Iterable[psutil.Process]) -> set[psutil.Process]:
    """The processes and all that they started."""
    import psutil

    found = set(roots)
    for root in roots:
        with suppress(psutil.Error):
            found.update(root.children(recursive=True))
    return found


def _seconds(processes: Iterable[psutil.Process]) -> dict[psutil.Process, float]:
    """Processor time that each process has used; one that is gone by now is left out."""
    import psutil

    found = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process] = times.user + times.system
    return found


def _resident(process: psutil.Process) -> int:
    """Bytes that a process holds in memory; none when it is gone."""
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
