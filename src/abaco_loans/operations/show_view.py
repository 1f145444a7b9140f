"""A view of a published panel: opened again, its hashes checked, small cells suppressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.engines.base import Engine
from abaco_loans.errors import UsageError
from abaco_loans.kpi.suppression import Place, suppressed_cells
from abaco_loans.nearest import nearest
from abaco_loans.operations.build_panel import view_panel
from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.publish_panel import FACTS_FILE, LOANS_FILE, read_document
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.portfolio.panel import PanelSource
from abaco_loans.portfolio.policy import Policy, read_policy
from abaco_loans.portfolio.view import Asked, Unit, Value, View, ViewTable, segment_node
from abaco_loans.portfolio.views import VIEWS
from abaco_loans.records.runs import PANEL_PREFIX, RunReader, RunRecord
from abaco_loans.releases.policy_files import PORTFOLIO_FILE
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.definition import restored
from abaco_loans.tape.panel import FACTS, LOANS
from abaco_loans.tape.template import filled
from abaco_loans.tape.tree import exp

ILLUSTRATED = (
    "ILLUSTRATION: the parameters are those that `abaco init` wrote into portfolio.yml; none is of this book or its"
    " contracts"
)
SUPPRESSED = "left out: cells with fewer than 3 customers, or that would give such a cell away"
UNPRICED = "rows without amounts: a loan's currency has no rate, so they are not computable"

# Customers; where the tapes name none, loans.
_SIZES = """
SELECT segment, as_of, cohort, COUNT(DISTINCT member), MAX(unpriced)
FROM (SELECT :segment AS segment, as_of, :cohort AS cohort, :member AS member,
             CASE WHEN unpriced THEN 1 ELSE 0 END AS unpriced
      FROM panel) p
GROUP BY segment, as_of, cohort
"""
# Segment, date of the panel, cohort (None: the view has no cohorts).
Cell = tuple[str, date, str | None]


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
    found = reader.get(name)
    if found is not None:
        return found
    panels = [item for item in reader.list(limit=1000) if item.run_id.startswith(PANEL_PREFIX)]
    near = [item for item in panels if item.run_id.startswith(name)]
    if len(near) != 1:
        raise UsageError(
            f"there is no panel {panel_id!r}" if not near else f"{len(near)} panels begin with {panel_id!r}",
            code="PAN-105",
            where="--panel",
            hint=nearest(name, [item.run_id for item in panels]) if panels else "`abaco panel TAPE` makes one",
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
        first=date.fromisoformat(document["first"]) if document["first"] else None,
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
    hidden, unpriced = _cells(asked, by_cohort="cohort" in names)
    if not any(column.unit is Unit.AMOUNT for column in table.columns):
        unpriced = set()  # what it counts needs no rate
    dates = {day: number for number, day in enumerate(asked.dates)}
    rows, notes = [], set(table.notes)
    if hidden:
        notes.add(SUPPRESSED)
    if _illustrated(view, asked.policy):
        notes.add(ILLUSTRATED)
    for row in table.rows:
        cells = _cells_of(dict(zip(names, row, strict=True)), asked, dates)
        if not hidden.isdisjoint(cells):
            continue
        if not unpriced.isdisjoint(cells):
            notes.add(UNPRICED)
            row = _without_amounts(row, table)
        rows.append(row)
    return replace(table, rows=tuple(rows), notes=tuple(sorted(notes)))


def _illustrated(view: View, policy: Policy) -> bool:
    """Whether what the view depends on is what ships."""
    if not view.policy or not getattr(policy, view.policy):
        return False
    shipped = read_policy(parse(builtin_texts()[PORTFOLIO_FILE], name=PORTFOLIO_FILE))
    return bool(getattr(policy, view.policy) == getattr(shipped, view.policy))


def _cells(asked: Asked, *, by_cohort: bool) -> tuple[set[Cell], set[Cell]]:
    """The cells that are too small to show, and those with unpriced loans."""
    named = asked.rows(filled("SELECT COUNT(customer_id) FROM panel"))[0][0]
    month = exp.func("STRFTIME", exp.column("disbursement_date"), exp.Literal.string("%Y-%m"))
    query = filled(
        _SIZES,
        segment=segment_node(asked),
        cohort=month if by_cohort else exp.null(),
        member=exp.column("customer_id" if named else "loan_id"),
    )
    unpriced: set[Cell] = set()
    sizes: dict[tuple[date, str | None], dict[Place, int]] = {}
    for segment, day, cohort, count, lacking in asked.rows(query):
        sizes.setdefault((day, cohort), {})["by", segment] = count
        if lacking:
            unpriced.add((segment, day, cohort))
    if asked.by is None:
        return set(), unpriced
    hidden = {
        (str(segment), day, cohort)
        for (day, cohort), members in sizes.items()
        for _, segment in suppressed_cells(members)
    }
    return hidden, unpriced


def _cells_of(row: Mapping[str, Any], asked: Asked, dates: Mapping[date, int]) -> list[Cell]:
    """The cells that a row tells of: at its date and, of openings and moves, at those since its period began."""
    last = dates[row.get("as_of", asked.dates[-1])]
    first = last
    if "period_start" in row:
        first = dates[row["period_start"]]
    elif "as_of" in row and "cohort" not in row:
        first = max(last - 1, 0)
    segment = row[asked.by] if asked.by else ""
    return [(segment, day, row.get("cohort")) for day in asked.dates[first : last + 1]]


def _without_amounts(row: tuple[Value, ...], table: ViewTable) -> tuple[Value, ...]:
    kept = (Unit.COUNT, Unit.TEXT, Unit.DATE)
    return tuple(value if column.unit in kept else None for value, column in zip(row, table.columns, strict=True))
