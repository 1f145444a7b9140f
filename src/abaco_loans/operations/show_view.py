"""A view of a published panel: opened again, its hashes checked, small cells suppressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import UsageError
from abaco_loans.kpi.suppression import Place, suppressed_cells
from abaco_loans.nearest import nearest
from abaco_loans.operations.build_panel import view_panel
from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.publish_panel import FACTS_FILE, LOANS_FILE, read_document
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.tools import Tools
from abaco_loans.portfolio.panel import PanelSource
from abaco_loans.portfolio.policy import Policy
from abaco_loans.portfolio.view import Asked, Unit, Value, View, ViewTable, segment_node
from abaco_loans.portfolio.views import VIEWS
from abaco_loans.records.runs import PANEL_PREFIX, RunReader, RunRecord
from abaco_loans.tape.definition import restored
from abaco_loans.tape.panel import FACTS, LOANS
from abaco_loans.tape.template import filled

SUPPRESSED = "fewer than 3 customers, or it would give such a cell away"

_CUSTOMERS = """
SELECT segment, cell, COUNT(DISTINCT member), SUM(unpriced)
FROM (SELECT :segment AS segment, :cell AS cell, COALESCE(customer_id, loan_id) AS member,
             CASE WHEN unpriced THEN 1 ELSE 0 END AS unpriced
      FROM panel) p
GROUP BY segment, cell
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPanel:
    """A published panel in the engine (relation ``panel``). ``series``: the recorded values of each KPI by date."""

    record: RunRecord
    document: Mapping[str, Any]
    engine: Engine
    policy: Policy
    series: Mapping[str, Mapping[date, Decimal | None]]

    @property
    def dates(self) -> tuple[date, ...]:
        """The dates of the panel."""
        return tuple(date.fromisoformat(day) for day in self.document["dates"])

    def asked(self, by: str | None = None, window: int = 12, horizon: int = 1) -> Asked:
        """What a view of this panel is asked.

        Raises:
            UsageError: ``CLI-106`` a segment that the tape does not have.
        """
        there = list(self.document["dimensions"])
        if by is not None and by not in there:
            raise UsageError(f"the panel has no segment {by!r}", code="CLI-106", where="--by", hint=nearest(by, there))
        return Asked(
            rows=self.engine.rows,
            dates=self.dates,
            definition=restored(self.document["definition"]),
            policy=self.policy,
            by=by,
            window=window,
            horizon=horizon,
            series=self.series,
        )


@contextmanager
def open_panel(tools: Tools, panel_id: str | None = None) -> Iterator[OpenPanel]:
    """The panel of that id (or its unique beginning), or the latest, for the length of the block.

    Raises:
        UsageError: ``PAN-105`` there is no panel, or none of that id.
        WorldError: ``RUN-102`` its files are no longer what was published.
    """
    with ExitStack() as stack:
        with tools.open_records() as records:
            record = _find(records.reader, panel_id)
            folder = sound_folder(tools.workspace, record)
            series = _series(records.reader, record)
        scratch = stack.enter_context(scratch_folder(tools.workspace))
        engine = tools.open_engine(scratch, [scratch, folder])
        stack.callback(engine.close)
        document = read_document(folder)
        _open(engine, folder, document)
        policy = tools.workspace.policy(record.release)
        yield OpenPanel(record=record, document=document, engine=engine, policy=policy, series=series)


def _find(reader: RunReader, panel_id: str | None) -> RunRecord:
    if panel_id is None:
        record = reader.latest_panel()
        if record is None:
            raise UsageError(
                "there is no panel yet", code="PAN-105", hint="`abaco panel TAPE` makes one from a servicing extract"
            )
        return record
    name = panel_id if panel_id.startswith(PANEL_PREFIX) else f"{PANEL_PREFIX}{panel_id}"
    near = [item for item in reader.list(limit=1000) if item.run_id.startswith(name)]
    if len(near) != 1:
        raise UsageError(
            f"there is no panel {panel_id!r}" if not near else f"{len(near)} panels begin with {panel_id!r}",
            code="PAN-105",
            where="--panel",
            hint="`abaco runs list` shows them",
        )
    return near[0]


def _series(reader: RunReader, record: RunRecord) -> dict[str, dict[date, Decimal | None]]:
    found: dict[str, dict[date, Decimal | None]] = {}
    for row in reader.kpi_values(record.run_id):
        if not row.segment:
            found.setdefault(row.kpi_id, {})[row.as_of] = row.value_exact
    return found


def _open(engine: Engine, folder: Path, document: Mapping[str, Any]) -> None:
    engine.open(FACTS, [folder / FACTS_FILE])
    dated = bool(document["dated"])
    if not dated:
        engine.open(LOANS, [folder / LOANS_FILE])
    source = PanelSource(
        facts=FACTS,
        loans=None if dated else LOANS,
        first=date.fromisoformat(document["dates"][0]) if dated else None,
        foreign=bool(document["foreign"]),
        definition=restored(document["definition"]),
    )
    view_panel(engine, source)


def find_view(name: str) -> View:
    """The view of that name; ``-`` stands for ``_``. Raises UsageError ``CLI-108``."""
    found = VIEWS.get(name.replace("-", "_"))
    if found is None:
        raise UsageError(
            f"there is no view {name!r}", code="CLI-108", where="view", hint=nearest(name.replace("-", "_"), VIEWS)
        )
    return found


def show_view(view: View, asked: Asked) -> ViewTable:
    """The view as it may be shown: what lacks a rate is not computable, what is too small is suppressed.

    Raises:
        UsageError: ``CLI-109`` the view cannot be asked by segment.
    """
    if asked.by and not view.segmented:
        raise UsageError(f"{view.name} is not made by segment", code="CLI-109", where="--by", hint="leave --by out")
    table = view.table(asked)
    names = [column.name for column in table.columns]
    cell = next((name for name in ("as_of", "cohort") if name in names), None)
    hidden, unpriced = _cells(asked, cell)
    keys = [index for index, column in enumerate(table.columns) if column.key]
    rows, notes = [], set(table.notes)
    for row in table.rows:
        place = (str(row[0]) if asked.by else "", row[names.index(cell)] if cell else None)
        if asked.by and place in hidden:
            notes.add(f"suppressed rows: {SUPPRESSED}")
            row = _blank(row, keys)
        elif place in unpriced:
            notes.add("rows without amounts: a loan's currency has no rate, so they are not computable")
            row = _without_amounts(row, table)
        rows.append(row)
    return replace(table, rows=tuple(rows), notes=tuple(sorted(notes)))


def _cells(asked: Asked, cell: str | None) -> tuple[set[tuple[str, Value]], set[tuple[str, Value]]]:
    """The cells of a view (segment, date or cohort) that are too small to show, and those with unpriced loans."""
    node: exp.Expr = exp.null()
    if cell == "as_of":
        node = exp.column("as_of")
    elif cell == "cohort":
        node = exp.func("STRFTIME", exp.column("disbursement_date"), exp.Literal.string("%Y-%m"))
    found = asked.rows(filled(_CUSTOMERS, segment=segment_node(asked), cell=node))
    unpriced = {(str(segment), value) for segment, value, _, count in found if count}
    hidden: set[tuple[str, Value]] = set()
    for value in {row[1] for row in found}:
        here = [row for row in found if row[1] == value]
        members: dict[Place, int] = {("by", str(segment)): int(count) for segment, _, count, _ in here}
        hidden |= {(str(segment), value) for _, segment in suppressed_cells(members)}
    return hidden, unpriced


def _blank(row: tuple[Value, ...], keys: list[int]) -> tuple[Value, ...]:
    return tuple(value if index in keys else None for index, value in enumerate(row))


def _without_amounts(row: tuple[Value, ...], table: ViewTable) -> tuple[Value, ...]:
    kept = (Unit.COUNT, Unit.TEXT, Unit.DATE)
    return tuple(value if column.unit in kept else None for value, column in zip(row, table.columns, strict=True))
