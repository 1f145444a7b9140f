"""A step put down to loans in the cells of segments: one statement a KPI for all its cells, one for the loans on top.

A loan that stands in two cells of a segment (given rows may say another product) leaves one and comes to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import reduce

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.operations.bridge_rows import CHANGED, LOAN_ID, Found, Pair, Why, found_of, in_order
from abaco_loans.releases.attribution import Weights
from abaco_loans.releases.bridge import Cause, decimal
from abaco_loans.tape.template import expression, filled, number_node

CELLS = "bridge_cells"
Place = tuple[str, str | None]  # a segment, and one of its values as the rows have it

_STAYS = (
    "SELECT *, :segment AS segment, :from_ AS cell, TRUE AS stays FROM :changed WHERE :from_ IS NOT DISTINCT FROM :to"
)
_LEAVES = """
SELECT *, :segment AS segment, :from_ AS cell, FALSE AS stays FROM :changed WHERE :from_ IS DISTINCT FROM :to
"""
_COMES = """
SELECT *, :segment AS segment, :to AS cell, FALSE AS stays FROM :changed WHERE :from_ IS DISTINCT FROM :to
"""
_CAUSE = """
SELECT CASE WHEN stays THEN :cause ELSE :unexplained END AS cause,
       CASE WHEN stays THEN :currency ELSE '' END AS rate_of
"""
_WEIGHTED = "SELECT UNNEST(:segments) AS of_segment, UNNEST(:texts) AS of_cell"


class Cells:
    """The loans of `CHANGED`, each in its cell of every segment: the view `CELLS`."""

    def __init__(self, engine: Engine, pair: Pair) -> None:
        self._engine, self._pair = engine, pair
        parts = [part for name in pair.segments for part in self._of_segment(name)]
        union = reduce(lambda first, second: exp.union(first, second, distinct=False), parts)
        engine.execute(exp.Create(this=exp.to_table(CELLS), kind="VIEW", expression=union, replace=True))

    def _of_segment(self, name: str) -> list[exp.Query]:
        index = self._pair.segments[name]
        nodes = {
            "segment": exp.Literal.string(name),
            "from_": exp.column(f"from_{index}"),
            "to": exp.column(f"to_{index}"),
            "changed": exp.to_table(CHANGED),
        }
        found: list[exp.Query] = [filled(_STAYS, **nodes)]
        for text, gone in ((_LEAVES, "new"), (_COMES, "old")):
            nothing = [f"{gone}_{number}" for number in self._pair.places.values()]
            nothing.append(f"rows_{gone}")
            query = filled(text, **nodes)
            zeros = [exp.alias_(number_node(0), alias) for alias in nothing]
            query.expressions[0].set("replace", zeros)
            found.append(query)
        return found

    def found(self, moves: Mapping[Place, Weights], why: Why, *, every: bool, listed: int) -> dict[Place, list[Found]]:
        """The move of one KPI in each of these cells by cause, as `Pair.found` says it of all loans."""
        first = next(iter(moves.values()))
        touched = self._pair.touched(list(moves.values()), every=every)
        found: dict[Place, list[Found]] = {place: [] for place in moves}
        if touched is None:
            return found
        names = self._pair.names(first)
        by = ("segment", "cell", "cause", "rate_of")
        loans = self._loans(moves, first, why, touched)
        sums = [exp.Sum(this=exp.column(name)) for name in names]
        whole = (
            exp.select(*by, exp.Count(this=exp.Star()), *sums).from_(loans.subquery("loans", copy=False)).group_by(*by)
        )
        rows = self._engine.rows(whole)
        tops: dict[tuple[object, ...], list[tuple[object, ...]]] = {}
        for line in self._engine.rows(_first(loans, by, names, listed)) if rows else ():
            tops.setdefault(tuple(line[:4]), []).append(tuple(line[4:]))
        for row in rows:
            place: Place = (row[0], row[1])
            found[place].append(found_of(moves[place], row[2:], tops.get(tuple(row[:4]), ())))
        return {place: sorted(items, key=in_order) for place, items in found.items()}

    def _loans(self, moves: Mapping[Place, Weights], first: Weights, why: Why, touched: exp.Expr) -> exp.Select:
        """The loans that have a say in these cells, each with its cause and the size of what it adds (a double)."""
        segments = exp.array(*(exp.Literal.string(segment) for segment, _ in moves), copy=False)
        texts = (exp.null() if value is None else exp.Literal.string(value) for _, value in moves)
        values = exp.cast(exp.array(*texts, copy=False), "VARCHAR[]")
        weighted = filled(_WEIGHTED, segments=segments, texts=values)
        size: exp.Expr = number_node(0)
        for name in first.components:
            index = self._pair.places[name]
            for side, sign in (("new", 1), ("old", -1)):
                each = (getattr(move, side).get(name, Fraction(0)) * sign for move in moves.values())
                numbers = exp.Literal.string(f"[{', '.join(str(decimal(value)) for value in each)}]")
                alias = f"weight_{side}_{index}"
                weight = expression("SELECT UNNEST(:numbers)", numbers=exp.cast(numbers, "DOUBLE[]"))
                weighted = weighted.select(exp.alias_(weight, alias), copy=False)
                amount = exp.cast(exp.column(f"{side}_{index}"), "DOUBLE")
                size = exp.Add(this=size, expression=exp.Mul(this=amount, expression=exp.column(alias)))
        cause = filled(
            _CAUSE,
            cause=why.cause,
            unexplained=exp.Literal.string(Cause.UNEXPLAINED.value),
            currency=why.currency,
        )
        here = exp.and_(
            exp.column("segment").eq(exp.column("of_segment")),
            exp.NullSafeEQ(this=exp.column("cell"), expression=exp.column("of_cell")),
        )
        query = exp.select("*", *cause.expressions, exp.alias_(exp.Abs(this=size), "size")).from_(CELLS)
        return query.join(weighted.subquery("weighted"), on=here).where(touched)


def _first(loans: exp.Select, by: Sequence[str], names: Sequence[str], listed: int) -> exp.Select:
    """The first loans of every cell and cause."""
    order = exp.Order(
        expressions=[exp.Ordered(this=exp.column("size"), desc=True), exp.Ordered(this=exp.column(LOAN_ID))]
    )
    rank = exp.Window(this=exp.RowNumber(), order=order, partition_by=[exp.column(name) for name in by])
    ranked = exp.select("*", exp.alias_(rank, "place")).from_(loans.subquery("loans"))
    query = exp.select(*by, LOAN_ID, *names).from_(ranked.subquery("ranked"))
    return query.where(exp.column("place") <= number_node(listed))
