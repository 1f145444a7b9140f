"""Panels on a desk: built, opened, read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from abaco_loans.operations.publish_panel import PanelOutcome, PanelRequest, publish_panel
from abaco_loans.operations.show_view import OpenPanel, open_panel
from abaco_loans.operations.verify_audit import verify_audit
from abaco_loans.records.runs import KpiRow
from abaco_loans.wiring import open_records, run_tools
from tests.operations.desk import Desk, write_csv

JANUARY, FEBRUARY = date(2025, 1, 31), date(2025, 2, 28)


def build(desk: Desk, *tapes: Path, **request: Any) -> PanelOutcome:
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    return publish_panel(PanelRequest(tapes=tapes, **request), tools)


@contextmanager
def opened(desk: Desk, panel_id: str | None = None) -> Iterator[OpenPanel]:
    with open_panel(run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock), panel_id) as found:
        yield found


def folder_of(desk: Desk, outcome: PanelOutcome) -> Path:
    return desk.workspace.outputs / str(outcome.record.output_folder)


def values_of(desk: Desk, run_id: str) -> tuple[KpiRow, ...]:
    with open_records(desk.workspace, desk.clock) as store:
        return store.reader.kpi_values(run_id)


def verifies(desk: Desk) -> None:
    with open_records(desk.workspace, desk.clock) as store:
        verdict = verify_audit(store, desk.workspace)
    assert verdict.ok, verdict.message


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shots(path: Path, count: int = 6, *days: date, **more: object) -> Path:
    """A snapshot tape: loans of as many customers, of two products, at each day."""
    rows = [
        {
            "loan_id": f"L{number}",
            "measurement_date": day,
            "customer_id": f"c{number}",
            "outstanding_principal": 1000 + number,
            "days_past_due": 0,
            "product": "ab"[number % 2],
            **more,
        }
        for day in days or (JANUARY, FEBRUARY)
        for number in range(count)
    ]
    return write_csv(path, rows)
