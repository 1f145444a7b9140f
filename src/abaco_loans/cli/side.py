"""The process of one side of a shadow run (``python -m abaco_loans.cli.side WORK``); nobody types this."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(path: Path) -> int:
    """Do the work that is described in a file; see `operations.side_work`."""
    from abaco_loans import wiring
    from abaco_loans.operations.side_work import read_work, work_side

    data = json.loads(path.read_text(encoding="utf-8"))
    work = read_work(data)
    open_engine = wiring.side_engine(work.scratch, work.out, memory_mb=data["memory_mb"], threads=data["threads"])
    return work_side(work, open_engine, wiring.side_key(os.environ))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
