"""A desk to run tapes on: a real workspace (DuckDB, SQLite) in a temporary folder, with a clock that stands still."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from abaco_loans.clock import FixedClock
from abaco_loans.operations.run_tape import RunOutcome, RunRequest, run_tape
from abaco_loans.operations.workspace import Workspace, make_workspace, open_workspace
from abaco_loans.records.runs import KpiRow, QuarantineCount, RunRecord
from abaco_loans.wiring import open_records, run_tools

NOON = datetime(2025, 12, 1, 12, tzinfo=UTC)
KEY = "5e" * 32

BUCKETED = (
    "loan_id",
    "measurement_date",
    "total_receivable_usd",
    "total_eligible_usd",
    "discounted_balance_usd",
    "cash_available_usd",
    "dpd_0_7_usd",
    "dpd_7_30_usd",
    "dpd_30_60_usd",
    "dpd_60_90_usd",
    "dpd_90_plus_usd",
)
Row = Mapping[str, object]


def bucketed_row(loan_id: str, receivable: object = "0", **amounts: object) -> dict[str, object]:
    """A row of a bucketed tape at 2025-11-30; short names (``eligible``, ``cash``, ``b30`` ...) for amounts."""
    names = {
        "eligible": "total_eligible_usd",
        "discounted": "discounted_balance_usd",
        "cash": "cash_available_usd",
        "b0": "dpd_0_7_usd",
        "b7": "dpd_7_30_usd",
        "b30": "dpd_30_60_usd",
        "b60": "dpd_60_90_usd",
        "b90": "dpd_90_plus_usd",
    }
    row: dict[str, object] = {"loan_id": loan_id, "measurement_date": "2025-11-30", "total_receivable_usd": receivable}
    row |= dict.fromkeys(BUCKETED[3:], "0")
    return row | {names.get(name, name): value for name, value in amounts.items()}


def worked_example() -> list[dict[str, object]]:
    """Three rows that sum to the worked example of SPEC §3."""
    return [
        bucketed_row(
            "A", "100000", eligible="80000", discounted="90000", cash="5000", b0="96500", b30="1000", b60="700"
        ),
        bucketed_row("B", "50000.5", eligible="40000.25", discounted="45000", cash="2500.75", b30="500.25", b90="1000"),
        bucketed_row(
            "C", "24999.5", eligible="19999.75", discounted="20000", cash="1249.25", b30="249.75", b60="700", b90="50"
        ),
    ]


def write_csv(path: Path, rows: Sequence[Row], header: Sequence[str] | None = None) -> Path:
    """Write rows as CSV; the header is the first row's keys."""
    names = list(header or rows[0])
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row.get(name, "") for name in names] for row in rows)
    return path


class Desk:
    """One workspace and its runs.

    Attributes:
        warm: whether it begins with the cache that a run leaves: release and statements are not worked out anew.
    """

    warm: ClassVar[bool] = True

    def __init__(self, folder: Path, *, key: str = KEY) -> None:
        self.environment = {"ABACO_MASKING_KEY": key}
        self.clock = FixedClock(NOON)
        self.said: list[str] = []
        self.workspace: Workspace = make_workspace(folder, self.environment)
        if self.warm:
            for name, content in _kept_by_a_run().items():
                (self.workspace.cache / name).write_bytes(content)

    @property
    def release(self) -> Path:
        """The folder of release v2."""
        return self.workspace.root / "releases" / "v2"

    def reopen(self, **settings: object) -> None:
        """Read the settings again, some of them changed."""
        environment = {f"ABACO_{name.upper()}": str(value) for name, value in settings.items()}
        self.workspace = open_workspace(self.workspace.root, environment)

    def run(self, path: Path, **request: Any) -> RunOutcome:
        """Run a tape."""
        tools = run_tools(self.workspace, self.environment, self.said.append, self.clock)
        return run_tape(RunRequest(path=path, **request), tools)

    def folder(self, outcome: RunOutcome) -> Path:
        """Where the run was published."""
        return self.workspace.outputs / (outcome.record.output_folder or "nowhere")

    def kpis(self, outcome: RunOutcome) -> dict[str, Any]:
        """The published ``kpis.json``."""
        found: dict[str, Any] = json.loads((self.folder(outcome) / "kpis.json").read_text(encoding="utf-8"))
        return found

    def runs(self) -> tuple[RunRecord, ...]:
        """What the records hold, the run that changed last first."""
        with open_records(self.workspace, self.clock) as store:
            return store.reader.list()

    def history(self, kpi_id: str) -> tuple[KpiRow, ...]:
        """Everything ever said of a KPI overall."""
        with open_records(self.workspace, self.clock) as store:
            return store.reader.history(kpi_id)

    def quarantine_counts(self, run_id: str) -> tuple[QuarantineCount, ...]:
        """The recorded counts of a run."""
        with open_records(self.workspace, self.clock) as store:
            return store.reader.quarantine_counts(run_id)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Rewrite a file of the release."""
        path = self.release / name
        before = path.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, "the edit changed nothing"
        path.write_text(after, encoding="utf-8")


class ColdDesk(Desk):
    """A desk on which nothing was ever run."""

    warm = False


@cache
def _kept_by_a_run() -> dict[str, bytes]:
    """What a run of the worked example leaves in the cache of a new workspace: file → content."""
    with TemporaryDirectory() as folder:
        desk = ColdDesk(Path(folder) / "workspace")
        desk.run(write_csv(Path(folder) / "tape.csv", worked_example()))
        return {path.name: path.read_bytes() for path in desk.workspace.cache.iterdir()}


def with_threads(desk: Desk, threads: int) -> None:
    """Let the engine use so many threads."""
    desk.workspace = replace(desk.workspace, settings=replace(desk.workspace.settings, threads=threads))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def texts(values: Iterable[object]) -> list[str]:
    """Every value as text."""
    return [str(value) for value in values]
