"""Our panel, as the product makes it: ``python -m bench.panel_run WORKSPACE EXTRACT FOLDER``.

The product's own steps: copy and hash the files, check every row, mask, rebuild every loan at every month end, write
the panel: a Parquet file of loans and dates, and one of loans. Prints the seconds of each step and the panel's sums.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from bench.extract import FIRST, LAST

_SUMS = """
SELECT COUNT(*), SUM(outstanding_principal + written_off_balance + dust_forgiven), SUM(days_past_due),
       SUM(received_in_period), SUM(scheduled_in_period)
FROM panel
"""


def main(workspace: str, extract: str, folder: str) -> None:
    """Read ``extract``, write the panel to ``folder``, print what it holds."""
    from sqlglot import exp

    from abaco_loans import wiring
    from abaco_loans.operations.build_panel import Span, build_panel
    from abaco_loans.operations.read_tape import load_tape, stage_tape
    from abaco_loans.operations.workspace import open_workspace
    from abaco_loans.tape.panel import FACTS, LOANS
    from abaco_loans.tape.template import filled

    begin = time.perf_counter()
    seconds: dict[str, float] = {}

    def done(step: str) -> None:
        seconds[step] = time.perf_counter() - begin - sum(seconds.values())

    place = open_workspace(Path(workspace), os.environ)
    release = place.release()
    with tempfile.TemporaryDirectory(dir=folder) as scratch_name:
        scratch = Path(scratch_name)
        engine = wiring.open_engine(place, scratch, [scratch, Path(folder)])
        staged = stage_tape(Path(extract), release, scratch, lambda: engine)
        done("copy")
        read = load_tape(staged, engine, place.masking_key(os.environ), scratch, lambda text: None)
        done("check")
        span = Span(start=date.fromisoformat(FIRST), end=date.fromisoformat(LAST))
        definition = release.definition(None, read.layout)
        build_panel(read, engine, definition, span, currency="USD", scratch=scratch, progress=lambda text: None)
        done("rebuild")
        for relation in (FACTS, LOANS):
            engine.write(exp.select("*").from_(relation), Path(folder) / f"{relation}.parquet", "parquet")
        done("write")
        sums = engine.rows(filled(_SUMS))[0]
        engine.close()
    found = {
        "sums": [str(value) for value in sums],
        "seconds": seconds,
        "all_accepted": read.totals[0] == read.totals[1],
        "engine": [place.settings.memory_mb, place.settings.threads],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
