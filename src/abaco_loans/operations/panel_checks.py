"""Check a panel: does it roll forward, and does nothing happen that cannot be. Every finding is counted and listed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.kpi.result import text_of
from abaco_loans.outputs.cells import safe_text
from abaco_loans.portfolio.roll_forward import (
    TRANSITIONS,
    VANISHED,
    breaks_query,
    continuity_query,
    transition_query,
    vanished_query,
)
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.template import filled
from abaco_loans.tape.tree import exp, later

LISTED_MAX = 10_000
COLUMNS = ("code", "text", "loan_id", "as_of", "currency", "amount", "amount_reporting")
BREAK = ("ROLL-101", "the balance does not roll forward from the date before")
GAP = ("ROLL-102", "openings that are not the closings of the date before")

Listing = Callable[[Iterator[tuple[object, ...]]], object]

_SUMS = """
WITH found AS (:query)
SELECT COUNT(*), SUM(ABS(amount_reporting)), MIN(as_of), MAX(as_of) FROM found
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found: rows of the panel, and what they are worth in reporting currency. None: not computable."""

    code: str
    text: str
    count: int | None
    amount: Decimal | None = None

    @property
    def status(self) -> str:
        """``passed``, ``failed``, or ``not_computable`` where the tapes do not say what the check needs."""
        if self.count is None:
            return "not_computable"
        return "failed" if self.count else "passed"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        amount = text_of(self.amount)
        return {"code": self.code, "text": self.text, "status": self.status, "count": self.count, "amount": amount}


def check_panel(
    engine: Engine, path: Path, *, has_payments: bool, series: bool, definition: Definition | None = None
) -> list[CheckResult]:
    """Run every check over the relation ``panel`` and list what they find in a CSV file.

    Args:
        engine: holds the panel.
        path: the file; at most 10,000 rows a check.
        has_payments: whether the tapes say what was paid, so that the roll-forward can be checked.
        series: whether loans may be missing at a date (snapshots).
        definition: that of the panel; it says how fast days past due may rise.
    """
    queries = {(item.code, item.text): later(transition_query, item, definition) for item in TRANSITIONS}
    if series:
        queries[VANISHED] = later(vanished_query)
    results = []
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        if has_payments:
            results += [_checked(BREAK, later(breaks_query), engine, writer.writerows), _continuity(engine)]
        else:
            results += [CheckResult(code=code, text=text, count=None) for code, text in (BREAK, GAP)]
        results += [_checked(name, query, engine, writer.writerows) for name, query in queries.items()]
    return results


def _checked(name: tuple[str, str], query: exp.Select, engine: Engine, write: Listing) -> CheckResult:
    code, text = name
    count, amount, _, _ = engine.rows(later(_sums_query, query))[0]
    if count:
        rows = engine.rows(query.order_by("as_of", "loan_id").limit(LISTED_MAX))
        write(_listed(code, text, rows))
    return CheckResult(code=code, text=text, count=int(count), amount=amount if count else None)


def _sums_query(query: exp.Select) -> exp.Select:
    return filled(_SUMS, query=query)


def _listed(code: str, text: str, rows: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    for loan, day, currency, *amounts in rows:
        yield (code, text, safe_text(str(loan)), day, currency, *amounts)


def _continuity(engine: Engine) -> CheckResult:
    rows = engine.rows(later(continuity_query))
    amount = sum((abs(opening - closing) for _, opening, closing in rows), Decimal(0)) if rows else None
    return CheckResult(code=GAP[0], text=GAP[1], count=len(rows), amount=amount)
