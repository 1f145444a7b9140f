"""Two releases side by side, measured: their loan rows compared, beside datacompy and a bare join; and the bridge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.measure import Bench
from bench.process import HERE, BenchError, Took, python, took
from bench.shadow_run import KPIS
from bench.table import Budget, Line

# Loans → the most that comparing them may take of datacompy's time, and of memory.
RATIO_TO_DATACOMPY = {1_000_000: 1.5}
COMPARE_MB = {1_000_000: 400.0}
# Loans → the most that comparing them and five causes may take.
BRIDGE_S = {1_000_000: 8.0}
BRIDGE_MB = {1_000_000: 1000.0}
CAUSES = 5


def measure_shadows(bench: Bench) -> Iterator[Line]:
    """All lines of the table of comparisons."""
    for loans, times in bench.shadows.items():
        pair = bench.folder / f"pair-{loans}"
        bench.tell(f"making loan rows of {loans:,} loans")
        pair.mkdir()
        took(python("-m", "bench.shadow_pair", str(loans), str(pair)))
        yield from _compared(bench, pair, loans, times)
        yield from _bridged(bench, pair, loans, times)
        shutil.rmtree(pair)


def _compared(bench: Bench, pair: Path, loans: int, times: int) -> Iterator[Line]:
    names = ["bare full join", *(["datacompy"] if bench.datacompy else [])]
    runs: dict[str, list[Took]] = {name: [] for name in ("", *names)}
    for number in range(times):
        bench.tell(f"loans compared, {loans:,} loans, {number + 1} of {times}")
        order = ["", *names]
        for name in reversed(order) if number % 2 else order:
            runs[name].append(_ours(bench, pair, "compare") if not name else _other(bench, pair, name))
        same_findings([found[-1] for found in runs.values()])
    ours = runs[""]
    for name in names:
        limit = RATIO_TO_DATACOMPY.get(loans) if name == "datacompy" else None
        yield Line(
            what=f"loans compared, {loans:,} loans",
            measured=_seconds(ours),
            cpu_s=[item.cpu_s for item in ours],
            other=name,
            beside=_seconds(runs[name]),
            ratio_budget=None if limit is None else Budget(at_most=limit, unit="×"),
        )
    memory = COMPARE_MB.get(loans)
    yield Line(
        what=f"peak memory of comparing, {loans:,} loans",
        measured=[item.peak_mb for item in ours],
        unit="MB",
        other=names[-1],
        beside=[item.peak_mb for item in runs[names[-1]]],
        budget=None if memory is None else Budget(at_most=memory, unit="MB"),
    )


def _bridged(bench: Bench, pair: Path, loans: int, times: int) -> Iterator[Line]:
    found = []
    for number in range(times):
        bench.tell(f"bridge, {loans:,} loans, {number + 1} of {times}")
        found.append(_ours(bench, pair, "bridge"))
        _closed(_document(found[-1])["bridges"])
    limit, memory = BRIDGE_S.get(loans), BRIDGE_MB.get(loans)
    yield Line(
        what=f"the same and a bridge of five causes, {loans:,} loans",
        measured=_seconds(found),
        cpu_s=[item.cpu_s for item in found],
        budget=None if limit is None else Budget(at_most=limit),
    )
    yield Line(
        what=f"peak memory of both, {loans:,} loans",
        measured=[item.peak_mb for item in found],
        unit="MB",
        budget=None if memory is None else Budget(at_most=memory, unit="MB"),
    )


def _ours(bench: Bench, pair: Path, what: str) -> Took:
    with bench.workspace() as place:
        return took(python("-m", "bench.shadow_run", str(place), str(pair), what))


def _other(bench: Bench, pair: Path, name: str) -> Took:
    if name == "datacompy":
        return took([bench.datacompy, "-P", str(HERE / "datacompy_compare.py"), str(pair)])
    return took(python(str(HERE / "bare_compare.py"), str(pair)))


def _document(item: Took) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(item.text)
    return found


def _seconds(items: Sequence[Took]) -> list[float]:
    return [_document(item)["seconds"] for item in items]


def same_findings(items: Sequence[Took]) -> None:
    """All found the same: loans in both, in one only, and how many differ in which column."""
    found = [{name: _document(item)[name] for name in ("sides", "columns")} for item in items]
    if not found[0]["columns"] or any(item != found[0] for item in found):
        raise BenchError(f"the comparisons do not agree: {found}")


def _closed(bridges: Sequence[dict[str, Any]]) -> None:
    """Every KPI is bridged over all causes, and nothing is left."""
    for bridge in bridges:
        if len(bridge["parts"]) != CAUSES or float(bridge["unexplained"]) or bridge["not_bridged"]:
            raise BenchError(f"the bridge is not one of {CAUSES} causes: {bridge}")
    if len(bridges) != len(KPIS):
        raise BenchError(f"{len(bridges)} of {len(KPIS)} KPIs are bridged")
