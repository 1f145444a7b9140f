"""A cutover and its rollback, measured: for how long no job is taken, and how long it takes to be back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

from bench.measure import Bench
from bench.process import BenchError, python, took
from bench.table import Budget, Line

# SPEC §6.
SWITCH_S = 4.0
ROLLBACK_S = 300.0


def measure_cutovers(bench: Bench) -> Iterator[Line]:
    """All lines of the table of cutovers."""
    for tapes, loans in bench.cutovers.items():
        bench.tell(f"a cutover, and a rollback with {tapes} tapes of {loans:,} loans")
        with bench.workspace() as place:
            said = json.loads(took(python("-m", "bench.cutover_run", str(place), str(tapes), str(loans))).text)
            shutil.rmtree(place.parent / f"{place.name}-tapes")
        if said["run_again"] != tapes or said["lost"]:
            raise BenchError(f"the rollback ran {said['run_again']} of {tapes} tapes again and lost {said['lost']}")
        rows = f"tapes of {loans:,} loans"
        yield Line(
            what=f"no job is taken during a cutover, {rows}",
            measured=[said["inactive_s"]],
            budget=Budget(at_most=SWITCH_S),
        )
        yield Line(what=f"the whole cutover, six phases, {rows}", measured=[said["cutover_s"]])
        yield Line(
            what=f"rollback with {tapes} tapes to run again, {rows}",
            measured=[said["rollback_s"]],
            budget=Budget(at_most=ROLLBACK_S),
        )
