"""`abaco validate` over time: tapes arrive when they are expected, and the book rolls forward from run to run."""

from __future__ import annotations

import copy
import csv
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from abaco_loans.clock import FixedClock
from abaco_loans.engines.base import Engine
from abaco_loans.operations.check_freshness import check_freshness
from abaco_loans.operations.check_roll_forward import check_roll_forward
from abaco_loans.operations.run_release import run_release
from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.operations.workspace import open_workspace
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.sample.spec import SampleSpec
from abaco_loans.watch.check import Status, SubCheck
from abaco_loans.wiring import run_tools
from tests.operations.desk import NOON, Desk, read_csv, worked_example, write_csv
from tests.operations.programs import add_program
from tests.operations.validate_desk import opened

OCTOBER, NOVEMBER = date(2025, 10, 31), date(2025, 11, 30)
SLA = "slaProperties:\n{}schema:\n"
EVERY_DAY = "  - {property: frequency, value: 1, unit: d}\n"
WITHIN_11_HOURS = "  - {property: latency, value: 11, unit: hours}\n"


def freshness(desk: Desk) -> SubCheck:
    with opened(desk) as production:
        return check_freshness(production)


def rolled(desk: Desk) -> SubCheck:
    with opened(desk) as production:
        return check_roll_forward(production)


# --- freshness ----------------------------------------------------------------------------------------------


def expects(desk: Desk, *promised: str) -> None:
    desk.edit("contracts/bucketed.yml", lambda text: text.replace("schema:\n", SLA.format("".join(promised)), 1))


def test_a_contract_that_expects_nothing_is_never_late(desk: Desk, tmp_path: Path) -> None:
    desk.run(write_csv(tmp_path / "book.csv", worked_example()))
    desk.clock = FixedClock(NOON + timedelta(days=900))
    assert freshness(desk).status is Status.NOT_APPLICABLE


def test_a_tape_is_fresh_until_the_next_is_due(desk: Desk, tmp_path: Path) -> None:
    expects(desk, EVERY_DAY)
    assert freshness(desk).status is Status.NOT_APPLICABLE  # none has arrived yet
    desk.run(write_csv(tmp_path / "book.csv", worked_example()))
    desk.clock = FixedClock(NOON + timedelta(hours=24))
    assert freshness(desk).status is Status.PASS
    desk.clock = FixedClock(NOON + timedelta(hours=24, seconds=1))
    late = freshness(desk)
    assert (late.status, "one is expected every 24 hours" in late.words) == (Status.FAIL, True)
    assert late.evidence == {"bucketed": f"FAIL: {late.words}"}
    desk.clock = FixedClock(NOON - timedelta(seconds=1))
    assert freshness(desk).status is Status.UNKNOWN  # a clock that was set back knows of no delay


def test_a_tape_that_came_long_after_its_day_is_worth_a_look(desk: Desk, tmp_path: Path) -> None:
    """It speaks of 30 November, and arrives at noon of 1 December."""
    tape = write_csv(tmp_path / "book.csv", worked_example())
    desk.clock = FixedClock(datetime(2025, 12, 1, 11, tzinfo=UTC))
    desk.run(tape)
    expects(desk, WITHIN_11_HOURS)
    assert freshness(desk).status is Status.PASS
    desk.clock = FixedClock(NOON)
    desk.run(write_csv(tmp_path / "more.csv", worked_example()[:2]))
    late = freshness(desk)
    assert (late.status, "by 2025-12-01T11:00:00+00:00" in late.words) == (Status.WARN, True)


def test_a_program_expects_nothing(desk: Desk) -> None:
    add_program(desk.workspace, "old", 'print(\'{"kpis": {"risk.par_30": 2.5}}\')\n')
    desk.reopen(release="old")
    assert freshness(desk).status is Status.NOT_APPLICABLE


# --- roll-forward -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Path]:
    """A workspace in which a servicing extract was run at the end of October, and the extract."""
    place = tmp_path_factory.mktemp("book")
    write_sample(SampleSpec(loans=40, months=6), place / "tapes")
    desk = Desk(place / "workspace")
    desk.run(place / "tapes" / "servicing", as_of=OCTOBER, definition="investor")
    return desk, place / "tapes" / "servicing"


@pytest.fixture
def october(book: tuple[Desk, Path], tmp_path: Path) -> Desk:
    made, _ = book
    desk = copy.copy(made)
    shutil.copytree(made.workspace.root, tmp_path / "workspace", symlinks=True)
    desk.workspace = open_workspace(tmp_path / "workspace", desk.environment)
    return desk


def test_one_date_has_nothing_to_roll_forward_from(october: Desk, book: tuple[Desk, Path]) -> None:
    assert rolled(october).status is Status.NOT_APPLICABLE
    october.run(book[1], as_of=NOVEMBER, definition="original")
    assert rolled(october).status is Status.NOT_APPLICABLE  # another definition is another book


def test_what_a_program_ran_has_no_formulas_to_roll_forward(october: Desk, book: tuple[Desk, Path]) -> None:
    """`v1` is a program that leaves clean tapes as `v2` does; only the two dates under `v2` make a panel."""
    tools = run_tools(october.workspace, october.environment, october.said.append, october.clock)
    for as_of in (OCTOBER, NOVEMBER):
        request = RunRequest(path=book[1], as_of=as_of, release="v1")
        assert run_release(request, tools, october.environment).rows is not None
    assert rolled(october).status is Status.NOT_APPLICABLE
    october.run(book[1], as_of=NOVEMBER, definition="investor")
    assert rolled(october).status is Status.PASS


class Leaking:
    """An engine in whose panel one loan has disbursed 1 more than its balance shows."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Any = engine
        self._planted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def execute(self, statement: exp.Expr) -> None:
        self._engine.execute(statement)
        raw = self._engine._connection
        if self._planted or not raw.execute("FROM duckdb_views() WHERE view_name = 'panel'").fetchall():
            return
        self._planted = True
        raw.execute("ALTER VIEW panel RENAME TO whole_panel")
        raw.execute(
            "CREATE VIEW panel AS SELECT * REPLACE (disbursed_in_period"
            " + CASE WHEN loan_id = (SELECT MIN(loan_id) FROM whole_panel) THEN 1 ELSE 0 END AS disbursed_in_period)"
            " FROM whole_panel"
        )


def test_a_book_rolls_forward_and_what_does_not_close_fails(october: Desk, book: tuple[Desk, Path]) -> None:
    october.run(book[1], as_of=NOVEMBER, definition="investor")
    good = rolled(october)
    assert (good.status, good.metrics) == (Status.PASS, {"roll_forward_breaks": 0})
    assert {item["code"] for item in good.evidence["checks"]} >= {"ROLL-101", "ROLL-102", "MOVE-101"}

    with opened(october) as production:
        honest = production.trial_tools.open_engine
        tools = replace(production.trial_tools, open_engine=lambda *folders: Leaking(honest(*folders)))
        bad = check_roll_forward(replace(production, trial_tools=tools))
    assert (bad.status, "ROLL-101" in bad.words) == (Status.FAIL, True)
    assert (bad.metrics["roll_forward_breaks"] or 0) > 0


def test_a_past_that_was_changed_is_told(october: Desk, book: tuple[Desk, Path], tmp_path: Path) -> None:
    """The extract of November no longer has a payment that that of October had."""
    changed = shutil.copytree(book[1], tmp_path / "changed")
    rows = read_csv(changed / "transactions.csv")
    gone = next(row for row in rows if row["type"] == "payment" and row["date"] <= str(OCTOBER))
    with (changed / "transactions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row is not gone)
    october.run(changed, as_of=NOVEMBER, definition="investor")
    found = rolled(october)
    assert (found.status, "outstanding at 2025-10-31 was published as" in found.words) == (Status.WARN, True)
