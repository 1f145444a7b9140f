"""Calculate again and again: ``python -m bench.soak_run WORKSPACE TAPE TIMES``.

As in a worker, which opens an engine for every run, the engine is a new one after every `ENGINE_FOR` calculations:
DuckDB 2.0 keeps some 20 bytes of each query over a table until it is closed, whoever asks. Each calculation must give
what the first gave; an error ends it. Prints seconds, how many gave something else, and the resident size of the
process after each of `SAMPLES` equal stretches, in bytes.
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
ENGINE_FOR = 1_000


def main(workspace: str, tape: str, times: str) -> None:
    """Print what came of it as JSON."""
    first, wrong, sizes, process = "", 0, [], psutil.Process()
    ends = {int(times) * number // SAMPLES for number in range(1, SAMPLES + 1)}
    begin = time.perf_counter()
    for start in range(0, int(times), ENGINE_FOR):
        with tempfile.TemporaryDirectory() as folder:
            once = product(Path(workspace), Path(tape), 1, Path(folder))
            first = first or repr(once())
            for number in range(start + 1, min(start + ENGINE_FOR, int(times)) + 1):
                wrong += repr(once()) != first
                if number in ends:
                    sizes.append(process.memory_info().rss)
            del once
    seconds = time.perf_counter() - begin
    print(json.dumps({"times": int(times), "wrong": wrong, "seconds": seconds, "sizes": sizes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
