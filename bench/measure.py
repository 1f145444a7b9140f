"""The measurements, each a function from a bench to lines of the table."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from bench.process import HERE, BenchError, Took, abaco, python, took
from bench.table import Budget, Line

# SPEC §6. Sizes without an entry are measured and not judged.
RUN_S = {100_000: 0.8, 1_000_000: 3.0}
RATIO_TO_BARE = {1_000_000: 2.0}
MEMORY_MB = {1_000: 150.0, 100_000: 250.0, 10_000_000: 1000.0}
CALCULATION_MS = {1_000: 1.0, 10_000: 1.0}
CALCULATION_ROWS_S = {1_000_000: 100.0}
HELP_S = 0.2
REAL_BOOK_S = 3.0
RATE_FROM = 1_000_000
HUGE = 10_000_000
FIRST_RUN = 100_000
_SMALL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What to measure: sizes and how often, and where the work lies.

    Rows (of panels and shadows loans) → times; of cutovers tapes → loans in each. ``validations``, ``soak``: how often.

    ``datacompy``: a Python that has it (`bench/datacompy.txt`); empty: nothing is measured beside it.
    """

    folder: Path
    tell: Callable[[str], None]
    runs: dict[int, int]
    calculations: dict[int, int]
    start_ups: int
    real_runs: int = 3
    panels: dict[int, int] = field(default_factory=dict)
    shadows: dict[int, int] = field(default_factory=dict)
    cutovers: dict[int, int] = field(default_factory=dict)
    validations: int = 1
    soak: int = 300
    datacompy: str = ""

    def tape(self, rows: int) -> Path:
        """The generated tape of that size; made when first asked for."""
        path = self.folder / f"tape-{rows}.csv"
        if not path.exists():
            self.tell(f"making a tape of {rows:,} rows")
            took(python("-m", "bench.tape", str(rows), str(path)))
        return path

    @contextmanager
    def workspace(self, *, used: bool = False) -> Iterator[Path]:
        """A workspace of its own, gone afterwards: a new one, or one in which another tape was run before."""
        model, place = self.folder / ("used" if used else "new"), self.folder / "workspace"
        if not model.exists():
            took(abaco("init", str(place)))
            if used:
                took(abaco("run", str(self.tape(_SMALL)), "--workspace", str(place), "--json"))
            place.rename(model)
        shutil.copytree(model, place)
        try:
            yield place
        finally:
            shutil.rmtree(place)


def measure(bench: Bench) -> Iterator[Line]:
    """All lines of the table of runs."""
    bench.tell("warming up")
    run(bench, bench.tape(min(bench.runs)))
    yield from start_up(bench)
    memory: list[Line] = []
    for rows, times in bench.runs.items():
        line, peaks = end_to_end(bench, rows, times)
        yield line
        memory.append(_memory(rows, peaks))
        if rows >= HUGE:
            bench.tape(rows).unlink()
        if rows == FIRST_RUN:
            yield first(bench, rows, times)
    yield from memory
    for rows, times in bench.calculations.items():
        yield calculation(bench, rows, times)
    yield from real_book(bench)


def run(bench: Bench, tape: Path, *more: str, used: bool = True) -> Took:
    """`abaco run` in a workspace of its own."""
    with bench.workspace(used=used) as place:
        return took(abaco("run", str(tape), "--workspace", str(place), "--json", *more))


def bare(bench: Bench, tape: Path) -> Took:
    """The bare script in a fresh folder."""
    folder = bench.folder / "bare"
    folder.mkdir()
    try:
        return took(python(str(HERE / "bare.py"), str(tape), str(folder)))
    finally:
        shutil.rmtree(folder)


def end_to_end(bench: Bench, rows: int, times: int) -> tuple[Line, list[float]]:
    """Both programs in turn, each first as often as the other; also the peaks of `abaco run`."""
    tape = bench.tape(rows)
    pairs: list[tuple[Took, Took]] = []
    for number in range(times):
        bench.tell(f"abaco run and bare, {rows:,} rows, {number + 1} of {times}")
        if number % 2:
            other, ours = bare(bench, tape), run(bench, tape)
        else:
            ours, other = run(bench, tape), bare(bench, tape)
        _same(ours, other, rows)
        pairs.append((ours, other))
    line = Line(
        what=f"`abaco run`, {rows:,} rows",
        measured=[ours.wall_s for ours, _ in pairs],
        cpu_s=[ours.cpu_s for ours, _ in pairs],
        other="bare script",
        beside=[other.wall_s for _, other in pairs],
        budget=_under(RUN_S.get(rows), "s"),
        ratio_budget=_under(RATIO_TO_BARE.get(rows), "×"),
    )
    return line, [ours.peak_mb for ours, _ in pairs]


def first(bench: Bench, rows: int, times: int) -> Line:
    """The first run of all in a workspace, which has nothing to remember."""
    bench.tell(f"abaco run in a new workspace, {rows:,} rows")
    found = [run(bench, bench.tape(rows), used=False) for _ in range(times)]
    what = f"the first run of a workspace, {rows:,} rows"
    return Line(what=what, measured=[item.wall_s for item in found], cpu_s=[item.cpu_s for item in found])


def _same(ours: Took, other: Took, rows: int) -> None:
    """A program that did less, or wrong, is not measured: every row accepted, and the sums are those of the script."""
    document, sums = json.loads(ours.text), json.loads(other.text)
    if document["earlier"] or document["rows"]["accepted"] != rows:
        raise BenchError(f"abaco run did not accept all {rows} rows: {document['rows']}")
    components = {
        name: Decimal(value)
        for kpi in document["kpis"].values()
        for name, value in kpi["components"].items()
        if value is not None
    }
    shared = sums.keys() & components.keys()
    wrong = [name for name in sorted(shared) if components[name] != Decimal(sums[name])]
    if wrong or "total_receivable_usd" not in shared:
        raise BenchError(f"abaco run and the script do not agree over {wrong or sorted(components)}")


def _memory(rows: int, peaks: Sequence[float]) -> Line:
    return Line(
        what=f"peak memory of `abaco run`, {rows:,} rows",
        measured=peaks,
        unit="MB",
        budget=_under(MEMORY_MB.get(rows), "MB"),
    )


def _under(limit: float | None, unit: str) -> Budget | None:
    return None if limit is None else Budget(at_most=limit, unit=unit)


def calculation(bench: Bench, rows: int, times: int) -> Line:
    """All KPIs over typed rows in memory, beside pandas; one thread for the small ones, where two are slower."""
    threads = 1 if rows < RATE_FROM else min(2, os.cpu_count() or 1)
    bench.tell(f"calculation alone, {rows:,} rows, {times} times")
    with bench.workspace() as place:
        done = took(python("-m", "bench.latency", str(place), str(bench.tape(rows)), str(threads), str(times)))
    seconds = json.loads(done.text)
    ms = {name: [value * 1000 for value in values] for name, values in seconds.items()}
    what = f"calculation alone, {rows:,} rows, {threads} thread{'s' * (threads > 1)}"
    if rows < RATE_FROM:
        budget = _under(CALCULATION_MS.get(rows), "ms")
        return Line(what=what, measured=ms["abaco"], unit="ms", other="pandas", beside=ms["pandas"], budget=budget)
    rate = CALCULATION_ROWS_S.get(rows)
    return Line(
        what=what,
        measured=[rows / value / 1e6 for value in seconds["abaco"]],
        unit="M rows/s",
        other="pandas",
        beside=[rows / value / 1e6 for value in seconds["pandas"]],
        budget=None if rate is None else Budget(at_least=rate, unit="M rows/s"),
    )


def start_up(bench: Bench) -> Iterator[Line]:
    """What it takes to say hello."""
    for option, budget in (("--help", _under(HELP_S, "s")), ("--version", None)):
        bench.tell(f"abaco {option}")
        found = [took(abaco(option)) for _ in range(bench.start_ups)]
        yield Line(
            what=f"`abaco {option}`",
            measured=[item.wall_s for item in found],
            cpu_s=[item.cpu_s for item in found],
            budget=budget,
        )


def real_book(bench: Bench) -> Iterator[Line]:
    """The real factoring book (17,688 loans, a servicing extract), where it is at hand."""
    data = Path(os.environ.get("ABACO_SHARED_DATA") or HERE.parents[1] / "shared" / "data")
    book = data / "factoring"
    if not (book / "loans.csv").is_file() or not bench.real_runs:
        return
    bench.tell("abaco run on the real book")
    found = [run(bench, book, "--as-of", "2025-11-30", "--definition", "investor") for _ in range(bench.real_runs)]
    yield Line(
        what="`abaco run` on the real book, 17,688 loans",
        measured=[item.wall_s for item in found],
        cpu_s=[item.cpu_s for item in found],
        budget=_under(REAL_BOOK_S, "s"),
    )
    yield Line(what="peak memory on the real book", measured=[item.peak_mb for item in found], unit="MB")
