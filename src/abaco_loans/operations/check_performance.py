"""Is it fast and small enough? A calculation of 1,000 rows, the rate of the last runs, the memory of one."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from statistics import median

from abaco_loans.errors import AbacoError
from abaco_loans.kpi.evaluate import Prices, evaluate
from abaco_loans.operations.calculate import calculate, facts_of
from abaco_loans.operations.read_tape import load_tape, stage_tape
from abaco_loans.operations.repeat_run import Repeated, calculate_apart
from abaco_loans.operations.run_side import SideRun
from abaco_loans.operations.validation_desk import Desk, looked_at, measured
from abaco_loans.outputs.publish import world
from abaco_loans.records.runs import RunRecord
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.releases.release import Release
from abaco_loans.watch.check import Check, Status, SubCheck
from abaco_loans.watch.metric import KPI_LATENCY, MEMORY, RUN_MEMORY_MAX_MB, judged, run_budget_s

NAME = "performance"
_LATENCY, _RATE, _BASELINE = "latency_1000_rows", "last_runs_rate", "against_baseline"
_MEMORY, _RUN_MEMORY = "memory_peak", "last_run_memory"
_ROWS = 1_000
_AS_OF = date(2025, 11, 30)
_WARM_UP, _REPEATS = 20, 101
_DIGITS, _WHOLE = Decimal("0.001"), Decimal(100)
_HEADER = (
    "loan_id", "measurement_date", "total_receivable_usd", "total_eligible_usd", "discounted_balance_usd",
    "cash_available_usd", "dpd_0_7_usd", "dpd_7_30_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd",
)  # fmt: skip


def check_performance(desk: Desk, repeated: Repeated, side: SideRun | AbacoError | None) -> Check:
    """Latency, rate and memory.

    Args:
        desk: of this validation.
        repeated: what came of repeating the last run.
        side: from `thousand_apart`.
    """
    memory = looked_at(_MEMORY, lambda: _memory(side))
    return Check(
        name=NAME,
        subchecks=(
            looked_at(_LATENCY, lambda: _latency(desk)),
            looked_at(_RATE, lambda: _rate(desk)),
            memory,
            desk.on_last_run(_RUN_MEMORY, lambda record: _run_memory(desk, record, repeated)),
            _against_baseline(desk, memory),
        ),
    )


def _latency(desk: Desk) -> SubCheck:
    """The median time of calculating every KPI over 1,000 typed rows in memory."""
    release = desk.release_of(desk.release)
    if isinstance(release, CommandRelease):
        words = f"release {release.name} is a program: its calculation cannot be timed apart from its reading"
        return SubCheck(name=_LATENCY, status=Status.NOT_APPLICABLE, words=words)
    with prepared_calculation(desk, release) as once:
        seconds = _timed(once, desk.given.stopwatch)
    value = Decimal(median(seconds) * 1000).quantize(_DIGITS)
    return measured(_LATENCY, KPI_LATENCY, value, rows=_ROWS, calculations=_REPEATS, kpis=len(release.catalogue.kpis))


@contextmanager
def prepared_calculation(desk: Desk, release: Release) -> Iterator[Callable[[], None]]:
    """The calculation of every KPI over 1,000 typed rows in memory, to be called as often as one likes."""
    folder = desk.folder / "latency"
    with world(folder):
        folder.mkdir(mode=0o700)
    engine = desk.trial_tools.open_engine(folder, [folder])
    try:
        staged = stage_tape(_thousand_rows(folder / "thousand.csv"), release, folder, lambda: engine)
        tape = load_tape(staged, engine, desk.trial_tools.key, folder, lambda text: None)
        definition = release.definition(None, tape.layout)
        currency = desk.workspace.settings.reporting_currency
        compiled = calculate(tape, engine, release, definition, as_of=_AS_OF, reporting_currency=currency).compiled
        prepared = [(statement, engine.prepare(statement.query, rows=_ROWS)) for statement in compiled.statements]
        facts, prices = facts_of(tape), Prices()

        def once() -> None:
            evaluate(compiled, {item.grain: item.cells(rows()) for item, rows in prepared}, facts, prices)

        yield once
    finally:
        engine.close()


def _timed(once: Callable[[], None], stopwatch: Callable[[], float]) -> list[float]:
    """Seconds of each call, after some that warm up."""
    for _ in range(_WARM_UP):
        once()
    seconds = []
    for _ in range(_REPEATS):
        begin = stopwatch()
        once()
        seconds.append(stopwatch() - begin)
    return seconds


def _thousand_rows(path: Path) -> Path:
    """A bucketed tape of 1,000 loans, the same every time."""
    with world(path), path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEADER)
        for number in range(_ROWS):
            owed = 1_000 + number * 7 % 997
            buckets = [owed - 500 - number % 5 * 100, number % 5 * 100, 200, 100, 50]
            writer.writerow([f"L{number}", _AS_OF.isoformat(), owed, owed, owed - 10, number % 90, *buckets])
    return path


def _rate(desk: Desk) -> SubCheck:
    """Rows a second of the last runs of the release, end to end, and whether their median kept to the budget."""
    runs = desk.last_runs
    if isinstance(runs, AbacoError):
        raise runs
    if not runs:
        words = f"release {desk.release} has run no tape yet"
        return SubCheck(name=_RATE, status=Status.NOT_APPLICABLE, words=words)
    found = []
    for record in runs:
        seconds = sum((Decimal(str(value)) for value in record.timings.values()), Decimal(0))
        if record.rows is None or not seconds:
            words = f"run {record.run_id} says nothing of its time"
            return SubCheck(name=_RATE, status=Status.UNKNOWN, words=words)
        found.append((record.rows.rows_in, seconds, run_budget_s(record.rows.rows_in)))
    share = median(100 * seconds / budget for _, seconds, budget in found)
    rate = median(rows / seconds for rows, seconds, _ in found).quantize(_DIGITS)
    took = median(seconds for _, seconds, _ in found)
    words = f"the last run took {took:,f} s" if len(found) == 1 else f"median of {len(found)} runs: {took:,f} s"
    return SubCheck(
        name=_RATE,
        status=Status.PASS if share <= _WHOLE else Status.WARN,
        words=f"{words}, {rate:,f} rows a second, {share:,.3f} % of the budget",
        metrics={
            "last_runs": len(found),
            "last_runs_rows_per_s": rate,
            "last_runs_budget_percent": share.quantize(_DIGITS),
        },
        evidence={
            "runs": [
                {"run": record.run_id, "rows": rows, "seconds": str(seconds), "budget_s": str(budget)}
                for record, (rows, seconds, budget) in zip(runs, found, strict=True)
            ]
        },
    )


def thousand_apart(desk: Desk) -> SideRun | AbacoError | None:
    """The calculation of 1,000 rows in a process apart; why it could not be done; None for a program."""
    try:
        release = desk.release_of(desk.release)
        if isinstance(release, CommandRelease):
            return None
        return calculate_apart(desk, release, _thousand_rows(desk.folder / "apart.csv"), _AS_OF)
    except AbacoError as error:
        return error


def _memory(side: SideRun | AbacoError | None) -> SubCheck:
    """The largest resident size of a process that calculates 1,000 rows, from its start to its end."""
    if side is None:
        words = "the release is a program; what it took is said of its runs"
        return SubCheck(name=_MEMORY, status=Status.NOT_APPLICABLE, words=words)
    if isinstance(side, AbacoError):
        raise side
    if side.error is not None:
        raise side.error
    return measured(_MEMORY, MEMORY, Decimal(side.peak_memory_mb).quantize(_DIGITS))


def _run_memory(desk: Desk, record: RunRecord, repeated: Repeated) -> SubCheck:
    """The largest resident size of the last run: of its repetition, or of the program as recorded."""
    if repeated.side is not None and repeated.side.ok:
        value, of = Decimal(repeated.side.peak_memory_mb).quantize(_DIGITS), "repeated in a process apart"
    elif (recorded := _programs_peak(desk, record)) is not None:
        value, of = recorded, "as recorded of its program"
    else:
        words = f"run {record.run_id} was not repeated, so what it takes is not known"
        return SubCheck(name=_RUN_MEMORY, status=Status.UNKNOWN, words=words)
    return SubCheck(
        name=_RUN_MEMORY,
        status=Status.PASS if value <= RUN_MEMORY_MAX_MB else Status.WARN,
        words=f"run {record.run_id}, {of}: {value:,f} MB; no run may take more than {RUN_MEMORY_MAX_MB:,f} MB",
        metrics={"last_run_memory_mb": value},
        evidence={"run": record.run_id},
    )


def _programs_peak(desk: Desk, record: RunRecord) -> Decimal | None:
    """What the ledger says that the program of a run took; None where it was no program."""
    with desk.given.open_trail(desk.workspace) as trail:
        said = [
            event.payload["peak_memory_mb"]
            for event in trail.events()
            if event.subject == record.run_id and event.action == "program.finished"
        ]
    return Decimal(said[-1]) if said else None


def _against_baseline(desk: Desk, memory: SubCheck) -> SubCheck:
    """The memory against what was recorded before."""
    before = desk.baseline.get(MEMORY.name)
    if before is None:
        words = "no baseline has been recorded yet"
        return SubCheck(name=_BASELINE, status=Status.NOT_APPLICABLE, words=words)
    value = memory.metrics.get(MEMORY.name)
    found = judged(MEMORY, None if value is None else Decimal(value), before)
    evidence = {"memory_baseline_mb": str(before)}
    return SubCheck(name=_BASELINE, status=found.status, words=found.words, evidence=evidence)
