"""Measure and print the tables: ``python -m bench [--quick | --full] [--only PART] [--write docs/performance.md]``."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.cutover import measure_cutovers
from bench.measure import HUGE, Bench, measure
from bench.panel import measure_panels
from bench.process import BenchError
from bench.shadow import measure_shadows
from bench.soak import measure_soak
from bench.table import NOT_MET, Line, markdown
from bench.watch import measure_watches

PARTS = {
    "run": measure,
    "panel": measure_panels,
    "shadow": measure_shadows,
    "cutover": measure_cutovers,
    "watch": measure_watches,
    "soak": measure_soak,
}
_HUGE_BYTES = 6_000_000_000
RUNS = {1_000: 5, 100_000: 5, 1_000_000: 3}
CALCULATIONS = {1_000: 400, 10_000: 400, 1_000_000: 21}
PANELS = {10_000: 3, 100_000: 3}
HUGE_PANEL = 1_000_000
SHADOWS = {100_000: 5, 1_000_000: 5}
# Tapes to run again → loans in each.
CUTOVERS = {50: 2_000}
VALIDATIONS = 5
SOAK = 45_000


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the person asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure abaco against the budgets.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="1,000 and 100,000 rows, once: does it all still work?")
    size.add_argument("--full", action="store_true", help="10,000,000 rows and 1,000,000 loans too (6 GB, minutes)")
    parser.add_argument("--rows", type=int, nargs="+", help="these sizes instead, once each, and no real book")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put each table into this page, between its marks")
    parser.add_argument(
        "--datacompy", default="", metavar="PYTHON", help="compare beside it: one that has datacompy.txt"
    )
    parser.add_argument("--check", action="store_true", help="exit code 1 when a budget is not met")
    parser.add_argument("--folder", type=Path, help="where to work [default: the temporary folder]")
    return parser.parse_args(given)


def planned(asked: argparse.Namespace, folder: Path) -> Bench:
    """The bench that was asked for."""

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    runs, calculations, panels, start_ups, real_runs = dict(RUNS), dict(CALCULATIONS), dict(PANELS), 10, 3
    shadows, cutovers = dict(SHADOWS), dict(CUTOVERS)
    validations, soak = VALIDATIONS, SOAK
    if asked.quick:
        runs, calculations, start_ups, real_runs = {1_000: 1, 100_000: 1}, {1_000: 50, 10_000: 50}, 2, 1
        panels, shadows, cutovers = {10_000: 1}, {100_000: 1}, {2: 300}
        validations, soak = 1, 3_000
    if asked.full:
        runs[HUGE] = panels[HUGE_PANEL] = 1
    if asked.rows:
        runs, calculations = dict.fromkeys(asked.rows, 1), dict.fromkeys(asked.rows, 5)
        panels, start_ups, real_runs = dict.fromkeys(asked.rows, 1), 1, 0
        shadows, cutovers = dict.fromkeys(asked.rows, 1), {2: 300}
        validations, soak = 1, 300
    return Bench(
        folder=folder,
        tell=tell,
        runs=runs,
        calculations=calculations,
        start_ups=start_ups,
        real_runs=real_runs,
        panels=panels,
        shadows=shadows,
        cutovers=cutovers,
        validations=validations,
        soak=soak,
        datacompy=asked.datacompy,
    )


def machine() -> str:
    """What it ran on, in one line."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    packages = ", ".join(f"{package} {version(package)}" for package in ("duckdb", "sqlglot", "pandas"))
    return f"{cores} cores ({name}), load {load} at the start, Python {platform.python_version()}, {packages}"


def marks(part: str) -> tuple[str, str]:
    """Between which lines of a page a part's table stands."""
    return f"<!-- bench {part}: begin -->", f"<!-- bench {part}: end -->"


def page(text: str, part: str, block: str) -> str:
    """The page with ``block`` between the part's marks.

    Raises:
        BenchError: the page has not both marks.
    """
    first, last = marks(part)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise BenchError(f"the page has no marks {first} and {last}")
    return f"{before}{begin}\n\n{block}\n{end}{after}"


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    asked = arguments(given)
    parts = [asked.only] if asked.only else list(PARTS)
    missed = []
    with tempfile.TemporaryDirectory(prefix="abaco-bench-", dir=asked.folder) as folder:
        if asked.full and shutil.disk_usage(folder).free < _HUGE_BYTES:
            print(f"--full needs 6 GB in {folder}: name a roomier place with --folder", file=sys.stderr)
            return 2
        bench = planned(asked, Path(folder))
        for part in parts:
            before = machine()
            lines = list(PARTS[part](bench))
            missed += [line.what for line in lines if line.verdict == NOT_MET]
            _tell(asked, part, lines, before)
    return 1 if missed and asked.check else 0


def _tell(asked: argparse.Namespace, part: str, lines: Sequence[Line], before: str) -> None:
    """Print the part's table, and put it into the page."""
    table = markdown(lines)
    missed = sum(line.verdict == NOT_MET for line in lines)
    said = f"{missed} budget(s) not met." if missed else "Every budget is met."
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(f"{table}\n{said}\n{before}\n")
    if asked.write:
        day = datetime.now(UTC).date().isoformat()
        shape = "".join(f" --{name}" for name in ("quick", "full") if getattr(asked, name))
        block = f"`python -m bench{shape} --only {part}`, {day}: {before}.\n\n{table}\n{said}\n"
        asked.write.write_text(page(asked.write.read_text(encoding="utf-8"), part, block), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
