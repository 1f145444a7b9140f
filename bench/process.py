"""Run a command as a process of its own, and say what it cost.

This process stays small on purpose: Linux gives a child its parent's peak memory until it starts its own program.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BYTECODE = Path(tempfile.gettempdir()) / f"abaco-bench-bytecode-{os.getuid()}"


class BenchError(Exception):
    """A measured program failed, or did not compute what it should have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What a process took: seconds on the clock and on the processors, and its largest memory."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    text: str


def environment() -> dict[str, str]:
    """This environment, in which the package and ``bench`` can be imported from any folder."""
    found = importlib.util.find_spec("abaco_loans")
    if found is None or found.origin is None:
        raise BenchError("abaco_loans is not installed: run `make bench`, or set PYTHONPATH=src")
    paths = [str(Path(found.origin).parents[1]), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    given = {name: value for name, value in os.environ.items() if not name.startswith("ABACO_")}
    # An installed package has its bytecode; the first, unmeasured run makes it here, beside nobody's sources.
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**given, "PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": str(BYTECODE)}


def took(command: Sequence[str], *, cwd: Path | None = None) -> Took:
    """Run a command to its end.

    Raises:
        BenchError: it ended with another code than 0.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given = environment()
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, cwd=cwd, env=given)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            raise BenchError(f"{' '.join(command)}: exit code {child.returncode}\n{err.read().decode()[-2000:]}")
        return Took(
            wall_s=wall,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mb=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
            text=out.read().decode(),
        )


def python(*arguments: str) -> list[str]:
    """A command of this Python. -P: the script's own folder is no place to import from."""
    return [sys.executable, "-P", *arguments]


def abaco(*arguments: str) -> list[str]:
    """The command under test."""
    return python("-m", "abaco_loans", *arguments)
