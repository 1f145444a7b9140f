"""Two releases side by side, as the product does it: ``python -m bench.shadow_run WORKSPACE FOLDER compare|bridge``.

``compare``: the loan rows of the two, loan by loan. ``bridge``: that, and then PAR 30, 60 and 90 of the tape bridged
over five causes. Prints the seconds from the first read to the result, and what was found.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from bench.shadow_pair import AS_OF, COLUMNS

if TYPE_CHECKING:
    from abaco_loans.engines.base import Engine
    from abaco_loans.releases.release import Release

KPIS = ("risk.par_30", "risk.par_60", "risk.par_90")
_TAPE = (
    "loan_id", "customer_id", "measurement_date", "product", "outstanding_principal", "disbursed_principal",
    "days_past_due", "interest_rate", "disbursement_date", "restructured",
)  # fmt: skip


def compared(engine: Engine, folder: Path) -> dict[str, object]:
    """What differs: loans in both and in one, and by column how many."""
    from abaco_loans.operations.bridge_stations import LoanRows
    from abaco_loans.operations.compare_loans import compare_loans

    for name in ("baseline", "candidate"):
        engine.open(name, [folder / f"{name}.parquet"])
    found = compare_loans(engine, *(LoanRows(relation=name, columns=COLUMNS) for name in ("baseline", "candidate")))
    sides = [found.both, found.only_baseline, found.only_candidate]
    return {"sides": sides, "columns": {item.column: item.loans for item in found.columns if item.loans}}


def bridged(engine: Engine, folder: Path, release: Release) -> list[dict[str, object]]:
    """The bridges from `investor` to a definition that differs in five causes, each of which moves a snapshot."""
    from abaco_loans.operations.bridge_kpis import bridge_calculations
    from abaco_loans.operations.bridge_stations import Side
    from abaco_loans.tape.calculation import Calculation, snapshot_calculation
    from abaco_loans.tape.definition import Boundary, Definition, Restructured
    from abaco_loans.tape.tree import created, exp

    engine.open("tape_file", [folder / "tape.parquet"])
    engine.execute(created("tape", "TABLE", exp.select("*").from_("tape_file")))

    def make(definition: Definition) -> Calculation:
        return snapshot_calculation("tape", _TAPE, definition, date.fromisoformat(AS_OF), "USD")

    old = release.definition("investor", "snapshot")
    new = replace(
        old, grace_days=35, boundary=Boundary.MORE_THAN, dust_share=Decimal(0), write_off_after_days=None,
        restructured=Restructured.AT_RISK,
    )  # fmt: skip
    baseline, candidate = (Side(definition=item, catalogue=release.catalogue) for item in (old, new))
    found = bridge_calculations(engine, make, baseline, candidate, KPIS, plain=True)
    return [bridge.as_dict() for bridge in found]


def main(workspace: str, given: str, what: str) -> None:
    """Print the seconds and the findings as JSON."""
    from abaco_loans import wiring
    from abaco_loans.operations.workspace import open_workspace

    folder = Path(given)
    place = open_workspace(Path(workspace), os.environ)
    release = place.release()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        engine = wiring.open_engine(place, Path(scratch), [Path(scratch), folder])
        begin = time.perf_counter()
        found = compared(engine, folder)
        found["bridges"] = bridged(engine, folder, release) if what == "bridge" else []
        found["seconds"] = time.perf_counter() - begin
        engine.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
