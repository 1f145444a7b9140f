"""Concentration at the last date: shares of the largest, and the Herfindahl-Hirschman index (DEFINITIONS)."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, exact, keyed, percent, ratio, segment_node
from abaco_loans.tape.template import date_node, filled, number_node
from abaco_loans.tape.tree import exp

DIMENSIONS = ("customer_id", "product", "region", "facility", "company")
TOP = (1, 5, 10, 20)

# Loans that name no member are told apart: they are in no share. Squares need more than 18 digits.
_MEMBERS = """
SELECT segment, member, COUNT(*) AS loans, CAST(SUM(outstanding) AS DECIMAL(38,4)) AS balance,
       ROW_NUMBER() OVER (PARTITION BY segment, CASE WHEN member IS NULL THEN 1 ELSE 0 END
                          ORDER BY SUM(outstanding) DESC, member) AS place
FROM (SELECT :segment AS segment, :member AS member, outstanding_principal_reporting AS outstanding
      FROM panel WHERE as_of = :day AND outstanding_principal_reporting > 0) p
GROUP BY segment, member
"""
_SUMS = """
WITH members AS (:members)
SELECT segment, COUNT(member), SUM(CASE WHEN member IS NOT NULL THEN balance ELSE 0 END),
       SUM(CASE WHEN member IS NULL THEN balance ELSE 0 END),
       SUM(CASE WHEN member IS NOT NULL THEN balance * balance ELSE 0 END)
FROM members GROUP BY segment HAVING COUNT(member) > 0 ORDER BY segment
"""
_LARGEST = """
WITH members AS (:members)
SELECT m.segment, m.place, m.member, m.loans, m.balance, t.total
FROM members m
JOIN (SELECT segment, SUM(balance) AS total FROM members WHERE member IS NOT NULL GROUP BY segment) t
  ON t.segment = m.segment
WHERE m.member IS NOT NULL AND m.place <= :most ORDER BY m.segment, m.place
"""


def _members(asked: Asked, dimension: str) -> exp.Select:
    return filled(
        _MEMBERS,
        segment=segment_node(asked),
        member=exp.column(dimension, quoted=True),
        day=date_node(asked.dates[-1]),
    )


def _largest(asked: Asked, dimension: str) -> list[tuple[Any, ...]]:
    return asked.rows(filled(_LARGEST, members=_members(asked, dimension), most=number_node(max(TOP))))


def _concentration(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    found: list[tuple[Value, ...]] = []
    for dimension in DIMENSIONS:
        largest: dict[str, list[Decimal]] = defaultdict(list)
        for segment, _, _, _, balance, _ in _largest(asked, dimension):
            largest[segment].append(balance)
        for segment, members, total, unnamed, squares in asked.rows(filled(_SUMS, members=_members(asked, dimension))):
            with exact():
                tops = [sum(largest[segment][:most], Decimal(0)) for most in TOP]
            shares = [percent(top, total) for top in tops]
            indices = herfindahl(squares, total, members)
            found.append(keyed(asked, segment, dimension, members, total, unnamed, *shares, *indices))
    return tuple(sorted(found, key=lambda row: str(row[0]))) if asked.by else tuple(found)


def herfindahl(squares: Decimal, total: Decimal, members: int) -> tuple[Decimal | None, Decimal | None]:
    """HHI = Σ balance² / (Σ balance)², from 1/n to 1, and (HHI − 1/n)/(1 − 1/n), from 0 to 1; None of one member."""
    index = Fraction(squares) / Fraction(total) ** 2
    equal = Fraction(1, members)
    found = ratio(index.numerator, index.denominator)
    if members == 1:
        return found, None
    normalised = (index - equal) / (1 - equal)
    return found, ratio(normalised.numerator, normalised.denominator)


def _top_customers(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    found: list[tuple[Value, ...]] = []
    running: dict[str, Decimal] = {}
    for segment, place, member, loans, balance, total in _largest(asked, "customer_id"):
        with exact():
            running[segment] = running.get(segment, Decimal(0)) + balance
        found.append(
            keyed(
                asked, segment, place, member, loans, balance, percent(balance, total), percent(running[segment], total)
            )
        )
    return tuple(found)


CONCENTRATION = View(
    name="concentration",
    title="Concentration",
    text=(
        "How much of the outstanding at the last date lies with the largest customers, products, regions, facilities "
        "and companies. Shares are of the loans that name a member; a dimension that no loan names has no row."
    ),
    columns=(
        Column(name="dimension", unit=Unit.TEXT, text="what the members are", key=True),
        Column(name="members", unit=Unit.COUNT, text="members with something outstanding"),
        Column(name="outstanding", unit=Unit.AMOUNT, text="outstanding of loans that name a member"),
        Column(name="unnamed", unit=Unit.AMOUNT, text="outstanding of loans that name none, in no share"),
        *(Column(name=f"top_{most}", unit=Unit.PERCENT, text=f"share of the {most} largest") for most in TOP),
        Column(name="hhi", unit=Unit.RATIO, text="Σ share², from 1/members to 1"),
        Column(name="hhi_normalised", unit=Unit.RATIO, text="(HHI − 1/n) / (1 − 1/n); none where n is 1"),
    ),
    compute=_concentration,
)
TOP_CUSTOMERS = View(
    name="top_customers",
    title="Largest customers",
    text=f"The {max(TOP)} customers with most outstanding at the last date, of loans that name a customer.",
    columns=(
        Column(name="rank", unit=Unit.COUNT, text="1 is the largest", key=True),
        Column(name="customer_id", unit=Unit.TEXT, text="the customer, masked", key=True),
        Column(name="loans", unit=Unit.COUNT, text="loans with something outstanding"),
        Column(name="outstanding", unit=Unit.AMOUNT, text="outstanding"),
        Column(name="share", unit=Unit.PERCENT, text="share of the outstanding"),
        Column(name="cumulative_share", unit=Unit.PERCENT, text="share of this customer and all larger ones"),
    ),
    compute=_top_customers,
    restricted=True,
)
