"""The panel, measured: every loan of a servicing extract at every month end, ours beside a bare script."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Bench
from bench.process import HERE, BenchError, Took, python, took
from bench.table import Budget, Line

# Loans → the most that our time may be of the bare script's, and the most memory.
RATIO_TO_BARE = {1_000_000: 3.0}
MEMORY_MB = {1_000_000: 2000.0}
# What the engine may use, for both: as `abaco init` sets it.
ENGINE_MB, THREADS = 600, 2


def measure_panels(bench: Bench) -> Iterator[Line]:
    """All lines of the panel's table."""
    for loans, times in bench.panels.items():
        extract = bench.folder / f"extract-{loans}"
        bench.tell(f"making an extract of {loans:,} loans")
        extract.mkdir()
        took(python("-m", "bench.extract", str(loans), str(extract)))
        yield from _panels(bench, extract, loans, times)
        shutil.rmtree(extract)


def _panels(bench: Bench, extract: Path, loans: int, times: int) -> Iterator[Line]:
    pairs: list[tuple[Took, Took]] = []
    for number in range(times):
        bench.tell(f"panel and bare, {loans:,} loans, {number + 1} of {times}")
        if number % 2:
            other, ours = _bare(bench, extract), _ours(bench, extract)
        else:
            ours, other = _ours(bench, extract), _bare(bench, extract)
        _same(ours, other)
        pairs.append((ours, other))
    limit, memory = RATIO_TO_BARE.get(loans), MEMORY_MB.get(loans)
    yield Line(
        what=f"panel, {loans:,} loans",
        measured=[ours.wall_s for ours, _ in pairs],
        cpu_s=[ours.cpu_s for ours, _ in pairs],
        other="bare script",
        beside=[other.wall_s for _, other in pairs],
        ratio_budget=None if limit is None else Budget(at_most=limit, unit="×"),
    )
    yield Line(
        what=f"the same in processor time, {loans:,} loans",
        measured=[ours.cpu_s for ours, _ in pairs],
        other="bare script",
        beside=[other.cpu_s for _, other in pairs],
    )
    steps = [json.loads(ours.text)["seconds"] for ours, _ in pairs]
    yield Line(what="of it copying and checking the files", measured=[step["copy"] + step["check"] for step in steps])
    yield Line(
        what=f"peak memory of the panel, {loans:,} loans",
        measured=[ours.peak_mb for ours, _ in pairs],
        unit="MB",
        other="bare script",
        beside=[other.peak_mb for _, other in pairs],
        budget=None if memory is None else Budget(at_most=memory, unit="MB"),
    )


def _ours(bench: Bench, extract: Path) -> Took:
    out = bench.folder / "panel"
    out.mkdir()
    try:
        with bench.workspace() as place:
            return took(python("-m", "bench.panel_run", str(place), str(extract), str(out)))
    finally:
        shutil.rmtree(out)


def _bare(bench: Bench, extract: Path) -> Took:
    out = bench.folder / "bare"
    out.mkdir()
    try:
        return took(python(str(HERE / "bare_panel.py"), str(extract), str(out), str(ENGINE_MB), str(THREADS)))
    finally:
        shutil.rmtree(out)


def _same(ours: Took, other: Took) -> None:
    """Both had the same means and found the same: rows, outstanding, days past due, received, scheduled."""
    found, sums = json.loads(ours.text), json.loads(other.text)
    if not found["all_accepted"] or found["engine"] != [ENGINE_MB, THREADS]:
        raise BenchError(f"the panel had other rows or means than the script: {found}")
    if found["sums"] != sums:
        raise BenchError(f"the panel and the script do not agree: {found['sums']}, {sums}")
