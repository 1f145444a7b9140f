"""``panel`` and ``views``: every loan of a tape at every date, and what people ask of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from weakref import finalize

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import UsageError
from abaco_loans.kpi.result import KpiResult, text_of
from abaco_loans.nearest import nearest
from abaco_loans.notebook.table import NUMBER, SHOWN_ROWS, Field, Row, Table
from abaco_loans.notebook.tape import Tape, settings_of
from abaco_loans.operations import build_panel as building
from abaco_loans.operations.panel_checks import check_panel
from abaco_loans.operations.panel_series import kpi_series
from abaco_loans.operations.run_tape import too_much
from abaco_loans.operations.show_view import find_view, show_view
from abaco_loans.outputs.publish import world
from abaco_loans.portfolio.columns import columns as panel_columns
from abaco_loans.portfolio.covenants import COVENANTS
from abaco_loans.portfolio.dates import Every, month_end
from abaco_loans.portfolio.view import PANEL, Asked, Unit, View
from abaco_loans.portfolio.views import VIEWS
from abaco_loans.tape.template import with_columns

Day = date | str
AskView = Callable[..., Table]

_TYPES = {Unit.TEXT: "VARCHAR", Unit.DATE: "DATE", Unit.COUNT: "BIGINT"}
_UNITS = {"VARCHAR": "text", "DATE": "date", "BIGINT": "days", "BOOLEAN": "yes or no", "DECIMAL(18,4)": "amount"}
_KPI_FIELDS = (
    Field(name="kpi_id", type="VARCHAR", unit="text", text="the KPI"),
    Field(name="segment", type="VARCHAR", unit="text", text="the column that segments it; empty for the whole book"),
    Field(name="segment_value", type="VARCHAR", unit="text", text="the segment"),
    Field(name="as_of", type="DATE", unit="date", text="the date"),
    Field(name="value", type=NUMBER, unit="as in unit", text="the value, rounded to the KPI's precision"),
    Field(name="value_exact", type="VARCHAR", unit="as in unit", text="the value to 28 digits, as text"),
    Field(name="unit", type="VARCHAR", unit="text", text="unit of the value"),
    Field(name="status", type="VARCHAR", unit="text", text="ok, warning, critical, or why there is no value"),
    Field(name="reason", type="VARCHAR", unit="text", text="that in words"),
)


class Panel(Table):
    """Every loan of a tape at every date, a row a loan and date: a table with the columns of docs/panel.md.

    Attributes:
        dates: the dates, oldest first.
        definition: the definition that it was made under, by parameter.
        currency: the reporting currency.
        warnings: what is odd in the tape over these dates, as dicts with ``code, text, count, amount``.
    """

    def __init__(self, tape: Tape, made: building.Panel, engine: Engine, currency: str, stack: ExitStack) -> None:
        fields = [
            Field(name=name, type=kind, unit=_UNITS.get(kind, "ratio"), text=text)
            for name, (kind, text) in panel_columns().items()
        ]
        self.dates = made.dates
        self.definition = made.definition.as_dict()
        self.currency = currency
        super().__init__(self._titled(f"Panel from {self.dates[0]} to {self.dates[-1]}"), fields, (), restricted=True)
        self.warnings = [item.as_dict() for item in made.warnings]
        self._tape, self._made, self._engine = tape, made, engine
        self._count = int(engine.rows(exp.select(exp.Count(this=exp.Star())).from_(PANEL))[0][0])
        self._checks: list[dict[str, object]] = []
        self._overall: Mapping[date, Sequence[KpiResult]] = {}
        self._closing = finalize(self, stack.close)

    def checks(self) -> list[dict[str, object]]:
        """What the checks found, as dicts with ``code, text, status, count, amount``.

        They ask whether every loan rolls forward from date to date, and whether anything happens that cannot be.
        """
        engine = self._open()
        if not self._checks:
            folder, dated = self._tape.held.folder, self._made.dated
            with world(folder), TemporaryDirectory(dir=folder) as place:
                found = check_panel(engine, Path(place) / "checks.csv", has_payments=not dated, series=dated)
            self._checks = [item.as_dict() for item in found]
        return [dict(item) for item in self._checks]

    def kpis(self, by: str | Sequence[str] = ()) -> Table:
        """Every KPI of the release's catalogue at every date, overall and by the segments asked for.

        Raises:
            UsageError: ``CLI-106`` a segment that the tape does not have.
        """
        segments = (by,) if isinstance(by, str) else tuple(by)
        found = self._series(segments) if segments else self._overall_series()
        rows = [_kpi_row(item, day) for day, results in found.items() for item in results]
        return Table(self._titled("KPIs"), _KPI_FIELDS, rows)

    def _titled(self, what: str) -> str:
        return f"{what}, {self.currency}, definition {self.definition['name']}"

    def _series(self, by: Sequence[str]) -> Mapping[date, Sequence[KpiResult]]:
        engine, held = self._open(), self._tape.held
        return kpi_series(self._made, held.read, engine, held.release, by=by, currency=self.currency)

    def _overall_series(self) -> Mapping[date, Sequence[KpiResult]]:
        self._open()
        if not self._overall:
            self._overall = self._series(())
        return self._overall

    def ask(self, view: View, by: str | None = None, window: int = 12, horizon: int = 1) -> Table:
        """A view of the panel; ``views`` has them by name.

        Raises:
            UsageError: ``CLI-106`` no such segment; ``CLI-109`` the view is not made by segment; ``LIB-103``.
        """
        engine, there = self._open(), self._made.dimensions
        if by is not None and by not in there:
            raise UsageError(f"the panel has no segment {by!r}", code="CLI-106", where="by", hint=nearest(by, there))
        if window < 1 or horizon < 1:
            raise UsageError(
                "window and horizon count periods, from 1 on",
                code="LIB-103",
                where=f"window={window}, horizon={horizon}",
                hint="leave them out for 12 and 1",
            )
        asked = Asked(
            rows=engine.rows,
            dates=self.dates,
            definition=self._made.definition,
            policy=self._tape.held.policy,
            by=by,
            window=window,
            horizon=horizon,
            series=self._exact_values() if view is COVENANTS else {},
        )
        table = show_view(view, asked)
        fields = [
            Field(name=item.name, type=_TYPES.get(item.unit, NUMBER), unit=str(item.unit), text=item.text)
            for item in table.columns
        ]
        return Table(self._titled(table.title), fields, table.rows, notes=table.notes, restricted=view.restricted)

    def _exact_values(self) -> dict[str, dict[date, Decimal | None]]:
        found: dict[str, dict[date, Decimal | None]] = {}
        for day, results in self._overall_series().items():
            for item in results:
                found.setdefault(item.kpi.id, {})[day] = item.value_exact
        return found

    def rows(self) -> list[Row]:
        """Every row, by loan and date."""
        return self._open().rows(self._query())

    def close(self) -> None:
        """Let go of the engine. Tables made of the panel stay. May be called again."""
        self._closing()

    def _open(self) -> Engine:
        if not self._closing.alive:
            raise UsageError(
                "the panel is closed, or its tape is",
                code="LIB-101",
                hint="make it again with panel(tape), while the tape is open",
            )
        return self._engine

    def _query(self) -> exp.Select:
        types = {field.name: field.type for field in self._fields}
        return with_columns(PANEL, types, frozenset(types), {}).order_by("loan_id", "as_of")

    def __len__(self) -> int:
        return self._count

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._open().arrow(self._query()).__arrow_c_stream__(requested_schema)

    def _head(self) -> Sequence[Row]:
        return self._engine.rows(self._query().limit(SHOWN_ROWS)) if self._closing.alive else ()


def _kpi_row(item: KpiResult, day: date) -> Row:
    exact, status = text_of(item.value_exact), item.status.value
    return item.kpi.id, item.segment, item.segment_value, day, item.value, exact, item.kpi.unit, status, item.reason


def panel(
    tape: Tape,
    definition: str | None = None,
    start: Day | None = None,
    end: Day | None = None,
    every: str = "month",
    at: Day | Iterable[Day] | None = None,
    currency: str = "USD",
) -> Panel:
    """Follow every loan of a tape from date to date.

    Args:
        tape: what `read_tape` read.
        definition: the definition to use; by default that of the layout. ``tape.definitions`` are their names.
        start: the first day, or month (``2025-01``: from its first day); by default the first disbursement.
        end: the last day, or month (to its last day); by default the last whole month.
        every: ``month``, ``week`` or ``day``. Of snapshots, the dates are those that they have.
        at: the dates to look at, instead of the others; a month is its last day.
        currency: the reporting currency.

    Raises:
        InputError: ``RUN-103`` too much of the tape is refused; ``TAPE-108`` there is no row in that span.
        UsageError: ``PAN-103`` there is no date in that span, or too many; ``LIB-101`` the tape is closed.
        ConfigError: ``REL-102`` there is no such definition.
    """
    held = tape.held
    refusal = too_much(held.read, strict=False)
    if refusal:
        raise refusal
    chosen = held.release.definition(definition, held.read.layout)
    named = (at,) if isinstance(at, Day) else at or ()
    span = building.Span(
        start=None if start is None else _day(start, "start"),
        end=None if end is None else _day(end, "end"),
        every=_every(every),
        at=tuple(_day(day, "at") for day in named),
    )
    reporting = settings_of("panel", reporting_currency=currency).reporting_currency
    with ExitStack() as stack, world(held.folder):
        scratch = Path(mkdtemp(prefix="panel", dir=held.folder))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        engine = held.tools.open_engine(scratch, [held.folder])
        stack.callback(engine.close)
        held.open(engine)
        made = building.build_panel(
            held.read, engine, chosen, span, currency=reporting, scratch=scratch, progress=held.tools.progress
        )
        book = Panel(tape, made, engine, reporting, stack.pop_all())
    tape.lend(book)
    return book


def _day(value: Day, name: str) -> date:
    """A day, or the day with which a month begins (``start``) or ends."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    is_month = re.fullmatch(r"\d{4}-\d{2}", value)
    try:
        found = date.fromisoformat(f"{value}-01" if is_month else value)
    except ValueError as error:
        raise UsageError(
            f"{value!r} is neither a day nor a month", code="PAN-103", where=name, hint="write 2025-11-30 or 2025-11"
        ) from error
    return month_end(found) if is_month and name != "start" else found


def _every(value: str) -> Every:
    try:
        return Every(value)
    except ValueError as error:
        raise UsageError(
            f"{value!r} is no distance between dates", code="PAN-103", where="every", hint="write month, week or day"
        ) from error


class NoView(UsageError, AttributeError):
    """There is no view of that name (``CLI-108``); also an AttributeError, so that ``hasattr`` works."""


class Views:
    """The views by name: ``views.ageing(book)``. Each explains itself: ``help(views.ageing)``."""

    def __getattr__(self, name: str) -> AskView:
        try:
            return _function(find_view(name))
        except UsageError as error:
            raise NoView(error.what, code=error.code, where=error.where, hint=error.hint) from None

    def __dir__(self) -> list[str]:
        return list(VIEWS)

    def __repr__(self) -> str:
        return "\n".join(f"views.{view.name}(book): {view.title}" for view in VIEWS.values())


def _function(view: View) -> AskView:
    def ask(book: Panel, by: str | None = None, window: int = 12, horizon: int = 1) -> Table:
        if not isinstance(book, Panel):
            raise UsageError(
                f"a view is asked of a panel, not of a {type(book).__name__}",
                code="LIB-102",
                where=f"views.{view.name}",
                hint="make one: book = panel(tape)",
            )
        return book.ask(view, by, window, horizon)

    columns = "\n".join(f"    {item.name} ({item.unit}): {item.text}" for item in view.columns)
    ask.__name__ = ask.__qualname__ = view.name
    ask.__doc__ = (
        f"{view.title}. {view.text}\n\n"
        "by: segment to split by, like 'product'; window: periods of an average; horizon: periods ahead (cures).\n\n"
        f"Columns:\n{columns}\n"
    )
    return ask


views = Views()
