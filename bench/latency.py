"""Calculation alone, beside pandas: ``python -m bench.latency WORKSPACE TAPE THREADS REPEAT``.

The tape is read by the product's own steps, then the statements are prepared once, and timed is what is left:
the engine's sums, the cells, every KPI of the catalogue with components, null counts and statuses. pandas does
the eight sums and seven divisions on float64 columns that are in memory, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.tape import AMOUNTS

_SUMMED = tuple(name for name in AMOUNTS if name != "discounted_balance_usd")
_BLOCK = 50
_WARM = 3


def product(workspace: Path, tape: Path, threads: int, scratch: Path) -> Callable[[], object]:
    """The calculation of ``tape``, ready to be called again and again."""
    from sqlglot import exp

    from abaco_loans import wiring
    from abaco_loans.kpi.evaluate import Prices, evaluate
    from abaco_loans.operations.calculate import calculate
    from abaco_loans.operations.read_tape import load_tape, stage_tape
    from abaco_loans.operations.workspace import open_workspace
    from abaco_loans.tape.calculation import TABLE

    place = open_workspace(workspace, os.environ)
    release = place.release()
    engine = wiring.open_engine(place, scratch, [scratch], threads=threads)
    staged = stage_tape(tape, release, scratch, lambda: engine)
    read = load_tape(staged, engine, place.masking_key(os.environ), scratch, lambda text: None)
    definition = release.definition(None, read.layout)
    done = calculate(read, engine, release, definition, as_of=None, reporting_currency="USD")
    compiled = done.compiled
    # Rows in memory, whether the product keeps a table or a view of them.
    held = exp.to_table("held_rows")
    engine.execute(exp.Create(this=held, kind="TABLE", expression=exp.select("*").from_(TABLE)))
    rows = read.totals[1]
    prepared = [(item, engine.prepare(_over(item.query, held), rows=rows)) for item in compiled.statements]
    facts = dict.fromkeys(("rows_quarantined", "rows_duplicate", "failed_checks", "open_alerts"), 0)
    facts |= {"rows_in": read.totals[0], "rows_accepted": read.totals[1]}
    unpriced = Prices()

    def once() -> object:
        cells = {item.grain: item.cells(found()) for item, found in prepared}
        return evaluate(compiled, cells, facts, unpriced)

    if repr(once()) != repr(done.evaluation):
        raise AssertionError("the timed calculation is not the product's")
    return once


def _over(query: Any, held: Any) -> Any:
    """The query over another table than the product's."""
    changed = query.copy()
    for table in list(changed.find_all(type(held))):
        table.set("this", held.this.copy())
    return changed


def with_pandas(tape: Path) -> Callable[[], object]:
    """The same sums by pandas over a frame in memory."""
    import pandas as pd

    frame = pd.read_csv(tape, usecols=list(_SUMMED))

    def once() -> object:
        sums = {name: frame[name].sum() for name in _SUMMED}
        receivable = sums["total_receivable_usd"]
        ratios = {name: total / receivable * 100 for name, total in sums.items() if name != "total_receivable_usd"}
        return sums, ratios, len(frame)

    return once


def timed_in_blocks(
    first: Callable[[], object], second: Callable[[], object], repeat: int
) -> tuple[list[float], list[float]]:
    """Seconds of each call of the two: blocks of calls in turn, each with ``_WARM`` calls that do not count.

    A call right after one of the other program finds caches that the other one filled, which nobody's calculations do.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    block = max(1, min(_BLOCK, repeat // 8))
    for begun in range(0, repeat, block):
        for found, call in zip(seconds, (first, second), strict=True):
            spent = [_timed(call) for _ in range(_WARM + min(block, repeat - begun))]
            found += spent[_WARM:]
    return seconds


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main(workspace: str, tape: str, threads: str, repeat: str) -> None:
    """Print the seconds of both as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        ours = product(Path(workspace), Path(tape), int(threads), Path(folder))
        theirs = with_pandas(Path(tape))
        first, second = timed_in_blocks(ours, theirs, int(repeat))
    found: dict[str, Any] = {"abaco": first, "pandas": second}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
