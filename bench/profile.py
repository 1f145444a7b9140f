"""Where a run's time goes: ``python -m bench.profile [ROWS ...]``: its own phases, and the imports by library."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.measure import Bench, run
from bench.process import BenchError, abaco, took

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def phases(bench: Bench, rows: int, times: int = 3) -> dict[str, float]:
    """Seconds by phase of the fastest of some runs; ``outside`` is start-up, imports, printing, and the end."""
    found = [run(bench, bench.tape(rows)) for _ in range(times)]
    best = min(found, key=lambda item: item.wall_s)
    timings: dict[str, float] = json.loads(best.text)["timings"]
    return {**timings, "outside": best.wall_s - sum(timings.values()), "whole": best.wall_s, "CPU": best.cpu_s}


def imports(bench: Bench, rows: int) -> list[tuple[str, float, int]]:
    """(library, milliseconds of its own, modules), slowest first, over one run. Threads share these clocks."""
    with bench.workspace() as place, tempfile.NamedTemporaryFile("r", suffix=".imports") as log:
        command = abaco("run", str(bench.tape(rows)), "--workspace", str(place), "--json")
        text = took(["/bin/sh", "-c", 'log="$1"; shift; exec "$@" 2>"$log"', "sh", log.name, *_timed(command)])
        if not text.text:
            raise BenchError("the run printed nothing")
        seen = [match.groups() for match in map(_IMPORT.match, log) if match]
    spent: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for microseconds, module in seen:
        library = module.split(".")[0]
        spent[library] += int(microseconds)
        modules[library] += 1
    return [(library, total / 1000, modules[library]) for library, total in spent.most_common()]


def _timed(command: list[str]) -> list[str]:
    return [command[0], "-X", "importtime", *command[1:]]


def main(sizes: list[int]) -> None:
    """Print both."""
    with tempfile.TemporaryDirectory(prefix="abaco-profile-") as folder:
        bench = Bench(folder=Path(folder), tell=lambda text: None, runs={}, calculations={}, start_ups=0)
        run(bench, bench.tape(sizes[0]))
        for rows in sizes:
            print(f"\n{rows:,} rows")
            for name, seconds in phases(bench, rows).items():
                print(f"  {name:12} {seconds * 1000:8.0f} ms")
        found = imports(bench, sizes[0])
        print(f"\nimports: {sum(spent for _, spent, _ in found):.0f} ms in all")
        for library, spent, modules in found[:20]:
            print(f"  {library:18} {spent:8.1f} ms  {modules:4} modules")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1_000, 100_000, 1_000_000])
