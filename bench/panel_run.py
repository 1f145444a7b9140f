"""Our panel, as the product makes it: ``python -m bench.panel_run WORKSPACE EXTRACT FOLDER``.

The product's own steps: copy and hash the files, check every row, mask, rebuild every loan at every month end, write
the panel, with every column, into one Parquet file. Prints the seconds of each step and what the panel holds in all.
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
    """Read ``extract``, write ``folder/panel.parquet``, print what it holds."""
    from sqlglot import exp

    from abaco_loans import wiring
    from abaco_loans.operations.build_panel import Span, build_panel
    from abaco_loans.operations.read_tape import load_tape, stage_tape
    from abaco_loans.operations.workspace import open_workspace
    from abaco_loans.tape.template import filled

    begin, seconds = time.perf_counter(), {}

    def done(step: str) -> None:
        seconds[step] = time.perf_counter() - begin - sum(seconds.values())

    place = open_workspace(Path(workspace), os.environ)
    release = place.release()
    with tempfile.TemporaryDirectory(dir=folder) as scratch_name:
        scratch, out = Path(scratch_name), Path(folder) / "panel.parquet"
        engine = wiring.open_engine(place, scratch, [scratch, out.parent])
        staged = stage_tape(Path(extract), release, scratch, lambda: engine)
        done("copy")
        read = load_tape(staged, engine, place.masking_key(os.environ), scratch, lambda text: None)
        done("check")
        span = Span(start=date.fromisoformat(FIRST), end=date.fromisoformat(LAST))
        definition = release.definition(None, read.layout)
        build_panel(read, engine, definition, span, currency="USD", scratch=scratch, progress=lambda text: None)
        done("rebuild")
        engine.write(exp.select("*").from_("panel"), out, "parquet")
        done("write")
        sums = engine.rows(filled(_SUMS))[0]
        engine.close()
    accepted = read.totals[0] == read.totals[1]
    print(json.dumps({"sums": [str(value) for value in sums], "seconds": seconds, "all_accepted": accepted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
