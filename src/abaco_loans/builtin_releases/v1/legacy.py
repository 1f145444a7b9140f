"""The old portfolio report: one tape in, a handful of KPIs out. Usage: legacy.py TAPE [AS_OF [LOANS_OUT]]

Reads a bucketed tape, a loan snapshot (CSV) or a folder with the files of the servicing system. Late is a loan at or
past so many days, counted from its oldest unpaid instalment; from the servicing system a remainder under 1 % counts
as repaid, and more than 180 days late as written off. Plain floating point, rounded as the report always was:
percentages and score to one decimal, amounts to two. Prints JSON; null where the tape does not say.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Rates = list[tuple[date, float]]
REPORTING, YES = "USD", ("true", "1", "yes", "t", "y")
PAR_DAYS = (7, 15, 30, 60, 90, 180)
BUCKETS = {"dpd_7_30_usd": 7, "dpd_30_60_usd": 30, "dpd_60_90_usd": 60, "dpd_90_plus_usd": 90}
AMOUNTS = ("finance.outstanding", "risk.written_off_balance")
PARTS = ("principal", "interest", "fees", "taxes", "other")
# What the factoring system calls its columns.
NAMES = {
    "disburse_date": "disbursement_date",
    "disburse_principal": "disbursed_principal",
    "date_due": "due_date",
    "date_paid": "date",
    "transaction_type": "type",
    "to_tax": "taxes",
}


def read(path: Path) -> list[Row]:
    """The rows of a CSV file under the report's own names."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header, *lines = csv.reader(stream)
    names = [NAMES.get(name.strip().lower(), name.strip().lower()) for name in header]
    return [dict(zip(names, line, strict=True)) for line in lines if line]


def number(row: Row, *names: str) -> float:
    """Amounts, added up; nothing is zero."""
    return sum(round(float(row.get(name) or 0), 4) for name in names)


def day(row: Row, name: str) -> date | None:
    """A date; a time behind it is cut off."""
    text = row.get(name) or ""
    return date.fromisoformat(text[:10]) if text else None


def bucketed(rows: list[Row]) -> list[Row]:
    """Loans of a bucketed tape: amounts stand in buckets, days are not known."""
    over = {k: [name for name, least in BUCKETS.items() if least >= k] for k in (7, 30, 60, 90)}
    late = [{k: number(row, *names) for k, names in over.items()} for row in rows]
    return [{**r, "outstanding": number(r, "total_receivable_usd"), "late": x} for r, x in zip(rows, late, strict=True)]


def snapshot(rows: list[Row]) -> list[Row]:
    """Loans of a snapshot: balances and days past due are the tape's own."""
    found = []
    for row in rows:
        rate = 1.0 if (row.get("currency") or REPORTING) == REPORTING else float(row["fx_rate"])
        balance, flag = number(row, "outstanding_principal"), (row.get("written_off") or "").strip().lower()
        lost = flag in YES or (not flag and number(row, "written_off_balance") > 0)
        loan: Row = {"outstanding": 0.0 if lost else max(balance, 0.0) * rate}
        if "written_off" in row or "written_off_balance" in row:
            gone = (number(row, "written_off_balance") or balance) * rate if lost else 0.0
            loan |= {"lost": gone, "written_off": lost}
        loan["days"] = int(row["days_past_due"]) if balance > 0 else 0
        found.append({**row, **loan})
    return found


def servicing(folder: Path, as_of: date | None) -> list[Row]:
    """Loans from the records of the servicing system, at a date or the last one on which anything moved."""
    schedules: dict[str, list[Row]] = defaultdict(list)
    moves: dict[str, list[Row]] = defaultdict(list)
    for row in read(folder / "schedules.csv"):
        since = day(row, "valid_from") or date.min
        schedules[row["loan_id"]].append({**row, "on": day(row, "due_date"), "since": since})
    for row in read(folder / "transactions.csv"):
        moves[row["loan_id"]].append({**row, "on": day(row, "date"), "kind": row["type"].strip().lower()})
    rates: dict[str, Rates] = defaultdict(list, {REPORTING: [(date.min, 1.0)]})
    for row in read(folder / "rates.csv") if (folder / "rates.csv").exists() else []:
        rates[row["currency"]].append((date.fromisoformat(row["date"][:10]), float(row["rate"])))
    at = as_of or max(row["on"] for each in moves.values() for row in each)
    found = []
    for row in read(folder / "loans.csv"):
        key, begun, currency = row["loan_id"], day(row, "disbursement_date"), row.get("currency") or REPORTING
        if begun is not None and begun <= at:
            found.append({**row, **serviced(row, schedules[key], moves[key], begun, at, rates[currency])})
    return found


def serviced(row: Row, schedule: list[Row], every: list[Row], begun: date, at: date, rates: Rates) -> Row:
    """One loan at a date: what is left, how late it is, what moved this month."""
    moves = [move for move in every if move["on"] <= at]
    if not any(move["kind"] == "disbursement" for move in every):
        moves.append({"on": begun, "kind": "disbursement", "principal": row["disbursed_principal"]})
    lent = sum(number(move, "principal") for move in moves if move["kind"] == "disbursement")
    paid = [move for move in moves if move["kind"] == "payment"]
    balance = lent - sum(number(move, "principal") for move in paid)
    balance += sum(number(move, "principal") for move in moves if move["kind"] in ("capitalisation", "adjustment"))
    balance += sum(number(move, "add_balance") - number(move, "reduce_balance") for move in moves)
    version = max((item["since"] for item in schedule if item["since"] <= at), default=date.min)
    owed: dict[date, float] = defaultdict(float)
    for item in schedule:
        if item["since"] == version:
            owed[item["on"]] += number(item, *PARTS)
    due, covered, days = 0.0, sum(number(move, *PARTS) for move in paid), 0
    for on in sorted(owed):
        due += owed[on]
        if on < at and round(due - covered, 4) > 0:
            days = (at - on).days
            break
    repaid = round(balance, 4) <= 0 or round(balance - 0.01 * lent, 6) < 0
    flagged = any(move["kind"] == "write_off" for move in moves) or (day(row, "written_off_date") or date.max) <= at
    lost = not repaid and (flagged or days > 180)
    start, rate = at.replace(day=1), rate_at(rates, at)
    return {
        "outstanding": 0.0 if repaid or lost else balance * rate,
        "lost": balance * rate if lost else 0.0,
        "written_off": lost,
        "days": 0 if repaid else days,
        "received": sum(
            number(move, *PARTS) * rate_at(rates, move["on"]) for move in paid if max(move["on"], begun) >= start
        ),
        "scheduled": sum(amount * rate_at(rates, on) for on, amount in owed.items() if start <= on <= at),
    }


def rate_at(rates: Rates, at: date) -> float:
    """The last rate up to a date; without one the report cannot be made."""
    return max(item for item in rates if item[0] <= at)[1]


def share(part: float | None, whole: float | None) -> float | None:
    """A percentage; None of nothing."""
    return part / whole * 100 if part is not None and whole else None


def added(loans: list[Row], name: str) -> float | None:
    """A column's sum; None where the tape does not have it."""
    return sum(float(loan[name] or 0) for loan in loans) if loans and name in loans[0] else None


def kpis(loans: list[Row]) -> dict[str, float | None]:
    """The report's figures, not yet rounded."""
    outstanding = added(loans, "outstanding") or 0.0
    found: dict[str, float | None] = {}
    for k in PAR_DAYS:
        late = [loan["late"].get(k) if "late" in loan else loan["outstanding"] * (loan["days"] >= k) for loan in loans]
        found[f"risk.par_{k}"] = None if None in late else share(sum(late), outstanding)
    eligible, cash = added(loans, "total_eligible_usd"), added(loans, "cash_available_usd")
    par_30 = found["risk.par_30"]
    rate = share(cash, eligible)
    score = (10 - par_30 / 10) * (rate / 10) if par_30 is not None and rate is not None else None
    found["risk.collection_rate"] = rate
    found["risk.portfolio_health"] = None if score is None else min(max(score, 0.0), 10.0)
    if loans and "days" in loans[0]:
        found["finance.outstanding"] = outstanding
        found["risk.written_off_balance"] = added(loans, "lost")
        rated = [loan for loan in loans if loan.get("interest_rate")]
        weights = sum(loan["outstanding"] for loan in rated)
        found["finance.weighted_apr"] = share(sum(float(x["interest_rate"]) * x["outstanding"] for x in rated), weights)
        if "customer_id" in loans[0]:
            found["growth.active_clients"] = len({x["customer_id"] for x in loans if x["outstanding"] > 0} - {""})
        if "received" in loans[0]:
            found["finance.scheduled_collection_rate"] = share(added(loans, "received"), added(loans, "scheduled"))
    return found


def main(tape: Path, as_of: str = "", loans_out: str = "") -> None:
    """Read, add up, print."""
    at = date.fromisoformat(as_of) if as_of else None
    if tape.is_dir():
        loans = servicing(tape, at)
    else:
        rows = read(tape)
        last = at or max(found for row in rows if (found := day(row, "measurement_date")))
        rows = [row for row in rows if day(row, "measurement_date") == last]
        loans = bucketed(rows) if rows and "dpd_90_plus_usd" in rows[0] else snapshot(rows)
    if loans_out:
        with Path(loans_out).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["loan_id", "outstanding", "days_past_due", "written_off", "written_off_balance"])
            for loan in loans:
                lost = [str(loan["written_off"]).lower(), round(loan["lost"], 2)] if "lost" in loan else ["", ""]
                writer.writerow([loan.get("loan_id", ""), round(loan["outstanding"], 2), loan.get("days", ""), *lost])
    figures = kpis(loans)
    known = {name: value for name, value in figures.items() if isinstance(value, float)}
    figures |= {name: round(value, 2 if name in AMOUNTS else 1) for name, value in known.items()}
    json.dump({"kpis": figures}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
