"""Whether what a release gave for a currency is what was recomputed, at another exchange rate.

It is where one factor takes every loan of the currency from its recomputed amounts to the given ones, but for the
rounding of both; at least `LOANS_MIN` of them show it, and no loan in reporting currency differs. Doubles only choose
the factor that is looked at; that it fits is found out on exact decimals. So one wrong loan is never a rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.tape.calculation import is_money
from abaco_loans.tape.template import expression, filled, number_node

CURRENCY = "currency"
LOANS_MIN = 3
_DIGITS = 17  # of a factor: with those of an amount they still fit a decimal of the engine
_RECOMPUTED_HALF = Decimal("0.00005")  # recomputed amounts have four decimals

_CHANGED_HERE = """
SELECT COUNT(*) FROM :relation
WHERE rows_old > 0 AND rows_new > 0 AND COALESCE(currency = :reporting, TRUE) AND (:made_rows > 1 OR NOT (:agrees))
"""
_BOUNDS = """
SELECT currency FROM :relation WHERE rows_old > 0 AND rows_new > 0 AND currency <> :reporting
GROUP BY currency HAVING COUNT(*) FILTER (WHERE rows_old > 1 OR rows_new > 1 OR NOT (:agrees)) = 0 ORDER BY currency
"""
_LEAST = """
SELECT MAX(CASE WHEN :made <> 0
           THEN (CAST(:given * SIGN(:made) AS DOUBLE) - :half) / (CAST(ABS(:made) AS DOUBLE) + :own_half) END)
"""
_MOST = """
SELECT MIN(CASE WHEN :made <> 0
           THEN (CAST(:given * SIGN(:made) AS DOUBLE) + :half) / (CAST(ABS(:made) AS DOUBLE) - :own_half) END)
"""
_PROOF = """
SELECT COUNT(*) FILTER (WHERE NOT (:fits)), COUNT(*) FILTER (WHERE :shows) FROM :relation
WHERE rows_old > 0 AND rows_new > 0 AND currency = :one
"""
_FITS = """
SELECT CASE WHEN :made IS NULL AND :given IS NULL THEN TRUE
            ELSE COALESCE(ABS(:given - :made * :factor) <= :room, FALSE) END
"""
_SHOWS = "SELECT COALESCE(ABS(:given - :made) > :room, FALSE)"


def kept_amounts(columns: Mapping[str, int], made: str, given: str) -> list[exp.Expr]:
    """What a join must keep of its sides ``made`` and ``given`` for a `RateTest`: currency and amounts of each loan."""
    found = [exp.alias_(exp.column(CURRENCY, table=made), CURRENCY)]
    for name, index in columns.items():
        if is_money(name):
            for side, alias in ((made, "made"), (given, "given")):
                # Wide, so that what is done with them is exact and cannot overflow.
                amount = exp.cast(exp.column(f"low_{index}", table=side), "DECIMAL(38,4)")
                found.append(exp.alias_(amount, f"{alias}_{index}"))
    return found


class RateTest:
    """The test on a relation that has the columns of `kept_amounts` beside ``rows_old``, ``rows_new``, ``agrees_*``."""

    def __init__(
        self,
        engine: Engine,
        relation: str,
        columns: Mapping[str, int],
        decimals: Mapping[str, int],
        *,
        made_rows: str,
        reporting: str,
    ) -> None:
        """``decimals``: by column, the most that the given rows have. ``made_rows``: the column that counts ours."""
        self._engine, self._columns, self._made_rows = engine, columns, made_rows
        self._relation, self._reporting = exp.to_table(relation), exp.Literal.string(reporting)
        self._halves = {name: Decimal("0.5").scaleb(-decimals.get(name, 4)) for name in columns}
        self._known: dict[tuple[str, ...], dict[str, Decimal]] = {}

    def factors(self, read: Sequence[str]) -> dict[str, Decimal]:
        """By currency, given ÷ recomputed, where that is all that differs in the columns ``read``."""
        key = tuple(sorted(read))
        if key not in self._known:
            amounts = [name for name in key if is_money(name)]
            self._known[key] = self._found(amounts, key) if amounts else {}
        return self._known[key]

    def _found(self, amounts: Sequence[str], read: Sequence[str]) -> dict[str, Decimal]:
        changed = filled(
            _CHANGED_HERE,
            relation=self._relation,
            reporting=self._reporting,
            made_rows=exp.column(self._made_rows),
            agrees=self._agree(read),
        )
        if self._engine.rows(changed)[0][0]:
            return {}
        rest = [name for name in read if not is_money(name)]
        query = filled(_BOUNDS, relation=self._relation, reporting=self._reporting, agrees=self._agree(rest))
        ends = [expression(text, **self._nodes(name)) for text in (_LEAST, _MOST) for name in amounts]
        found = {}
        for currency, *values in self._engine.rows(query.select(*ends)):
            lows, highs = (
                [Decimal(str(value)) for value in half if value is not None]
                for half in (values[: len(amounts)], values[len(amounts) :])
            )
            factor = _between(max(lows), min(highs)) if lows else None
            if factor is not None and self._holds(currency, factor, amounts):
                found[str(currency)] = factor
        return found

    def _holds(self, currency: str, factor: Decimal, amounts: Sequence[str]) -> bool:
        """Whether the factor fits every loan of the currency, and enough of them differ by more than rounding."""
        fits, shows = [], []
        decimals = -int(factor.as_tuple().exponent)
        wide = exp.cast(_number(factor), f"DECIMAL(38,{decimals})")
        for name in amounts:
            nodes = {key: node for key, node in self._nodes(name).items() if key in ("made", "given")}
            room = self._halves[name] + factor * _RECOMPUTED_HALF
            cut = room.quantize(Decimal(1).scaleb(-decimals - 4), rounding=ROUND_FLOOR)
            fits.append(expression(_FITS, **nodes, factor=wide, room=_number(cut)))
            shows.append(expression(_SHOWS, **nodes, room=_number(self._halves[name] + _RECOMPUTED_HALF)))
        proof = filled(
            _PROOF,
            relation=self._relation,
            one=exp.Literal.string(currency),
            fits=exp.and_(*fits),
            shows=exp.or_(*shows),
        )
        wrong, showing = self._engine.rows(proof)[0]
        return not wrong and int(showing) >= LOANS_MIN

    def _agree(self, names: Sequence[str]) -> exp.Expr:
        return exp.and_(exp.true(), *(exp.column(f"agrees_{self._columns[name]}") for name in names))

    def _nodes(self, name: str) -> dict[str, exp.Expr]:
        index = self._columns[name]
        return {
            "made": exp.column(f"made_{index}"),
            "given": exp.column(f"given_{index}"),
            "half": _number(self._halves[name]),
            "own_half": _number(_RECOMPUTED_HALF),
        }


def _between(low: Decimal, high: Decimal) -> Decimal | None:
    """The shortest positive decimal from one end to the other; None where none of `_DIGITS` digits lies there."""
    middle = (low + high) / 2
    if not middle.is_finite() or middle <= 0 or middle.adjusted() >= _DIGITS:
        return None
    for decimals in range(_DIGITS - max(middle.adjusted(), 0)):
        found = middle.quantize(Decimal(1).scaleb(-decimals))
        if found > 0 and low <= found <= high:
            return found
    return None


def _number(value: Decimal) -> exp.Expr:
    return number_node(format(value, "f"))
