"""Calculate again and again: ``python -m bench.soak_run WORKSPACE TAPE TIMES``.

Each calculation must give what the first gave; an error ends it. Prints seconds, how many gave something else, and the
resident size of the process after each of `SAMPLES` equal stretches, in bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.latency import product

SAMPLES = 300


def main(workspace: str, tape: str, times: str) -> None:
    """Print what came of it as JSON."""
    wrong, sizes, process = 0, [], psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        once = product(Path(workspace), Path(tape), 1, Path(folder))
        first, begin = repr(once()), time.perf_counter()
        ends = {int(times) * number // SAMPLES for number in range(1, SAMPLES + 1)}
        for number in range(1, int(times) + 1):
            wrong += repr(once()) != first
            if number in ends:
                sizes.append(process.memory_info().rss)
        seconds = time.perf_counter() - begin
    print(json.dumps({"times": int(times), "wrong": wrong, "seconds": seconds, "sizes": sizes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
