"""A believable document of a book: a factoring portfolio over two years, made by a few simple rules."""

from __future__ import annotations

import re
from calendar import monthrange
from decimal import Decimal
from typing import Any

MONTHS = 24
STATES = ("current", "1-6", "7-29", "30-59", "60-89", "90+")
ENDS = (*STATES, "written off", "repaid", "missing")
BALANCES = ("9684120.35", "1021877.10", "684302.48", "287410.92", "151036.27", "329881.63")
LOANS = (3120, 344, 227, 96, 51, 118)
TOTAL = sum(map(Decimal, BALANCES), Decimal(0))


def month_ends(count: int = MONTHS) -> list[str]:
    """The last days of the months up to December 2025."""
    found = []
    for back in reversed(range(count)):
        year, month = divmod(2025 * 12 + 11 - back, 12)
        found.append(f"{year}-{month + 1:02d}-{monthrange(year, month + 1)[1]}")
    return found


def wave(index: int, size: str, step: int = 5) -> Decimal:
    """A small swing that repeats every few months."""
    return (Decimal((index * 7 + step) % 11) - 5) / 5 * Decimal(size)


def par(k: int) -> list[str | None]:
    """PAR k by date, ending at what the ageing says; two dates are missing."""
    last = sum(map(Decimal, BALANCES[{7: 2, 30: 3, 60: 4, 90: 5}[k] :])) / TOTAL * 100
    values = [last * (Decimal("0.62") + Decimal(i) * Decimal("0.38") / (MONTHS - 1)) for i in range(MONTHS)]
    values = [v + wave(i, "0.03", k) * last * (i < MONTHS - 1) for i, v in enumerate(values)]
    return [None if i in (9, 10) else f"{value:.4f}" for i, value in enumerate(values)]


def share(value: str) -> str:
    return f"{Decimal(value) / TOTAL * 100:.4f}"


def tile(
    kpi: str, name: str, series: list[str | None], unit: str, status: str, limits: tuple[str, str, str] | None
) -> dict[str, Any]:
    dates = month_ends()[-len(series) :] if series else []
    last, before = (series[-1], series[-2]) if series else (None, None)
    return {
        "id": kpi,
        "name": name,
        "value": last,
        "unit": unit,
        "status": status,
        "reason": "" if series else "needs the column cash_available_usd, which a servicing extract does not have",
        "thresholds": dict(zip(("warning", "critical", "direction"), limits, strict=True)) if limits else None,
        "change_month": None if last is None or before is None else str(Decimal(last) - Decimal(before)),
        "series": [list(pair) for pair in zip(dates, series, strict=True)],
    }


def rounded(values: list[str | None]) -> list[str | None]:
    return [None if value is None else f"{Decimal(value):.2f}" for value in values]


def tiles() -> list[dict[str, Any]]:
    high, low = "high_is_bad", "low_is_bad"
    grown = [f"{TOTAL * (60 + Decimal(i) * 40 / (MONTHS - 1)) / 100:.2f}" for i in range(MONTHS)]
    collected: list[str | None] = [f"{Decimal('97.10') + wave(i, '1.9'):.2f}" for i in range(MONTHS)]
    return [
        tile("risk.par_30", "PAR 30", rounded(par(30)), "%", "warning", ("5", "8", high)),
        tile("risk.par_90", "PAR 90", rounded(par(90)), "%", "ok", ("3", "5", high)),
        tile("risk.outstanding", "Outstanding principal", list(grown), "USD", "ok", None),
        tile("risk.scheduled_rate", "Scheduled collection rate", collected, "%", "ok", ("95", "90", low)),
        tile(
            "risk.top_10",
            "Ten largest customers",
            [f"{41 + wave(i, '2.2'):.2f}" for i in range(MONTHS)],
            "%",
            "critical",
            ("30", "40", high),
        ),
        tile(
            "growth.active_clients",
            "Active clients",
            [str(1180 + 31 * i) for i in range(MONTHS)],
            "clients",
            "ok",
            None,
        ),
        tile("risk.collection_rate", "Collection rate (original)", [], "%", "not_computable", ("1.5", "1.0", low)),
        tile(
            "risk.apr",
            "Weighted APR",
            [f"{28 + wave(i, '0.6'):.2f}" for i in range(MONTHS)],
            "%",
            "out_of_range",
            None,
        ),
    ]


def roll_rates() -> dict[str, Any]:
    rows = []
    for at, state in enumerate(STATES):
        stay, worse = Decimal("71") - 8 * at, Decimal("6") + 7 * at
        shares = {state: stay, ENDS[at + 1]: worse, "missing": Decimal("0.4")}
        if at:
            shares["current"] = Decimal(20 - 3 * at)
        shares["repaid"] = 100 - sum(shares.values(), Decimal(0))
        rows.append(
            {
                "from": state,
                "to": {
                    end: {
                        "rate": f"{rate:.4f}",
                        "count_rate": f"{rate * Decimal('0.97'):.4f}",
                        "low": f"{rate * Decimal('0.86'):.4f}",
                        "high": f"{min(rate * Decimal('1.17'), Decimal(100)):.4f}",
                        "balance": f"{Decimal(BALANCES[at]) * rate / 100:.4f}",
                    }
                    for end, rate in shares.items()
                },
            }
        )
    return {
        "window": "average of the last 12 months",
        "interval": "the rate by count, and its lowest and highest month",
        "states": list(ENDS),
        "rows": rows,
    }


def vintage(k: int, level: str) -> dict[str, Any]:
    cohorts = []
    for index, day in enumerate(month_ends(18)):
        height = Decimal(level) * (Decimal("0.7") + Decimal(index) / 20 + wave(index, "0.2", k))
        points = [
            [age, f"{height * age / (age + 4):.4f}" if age <= 17 - index else None] for age in range(18)
        ]  # fmt: skip
        disbursed = f"{900000 + 23111 * index}.00"
        cohorts.append({"cohort": day[:7], "disbursed": disbursed, "points": points})
    return {"k": k, "cohorts": cohorts}


def concentration() -> list[dict[str, Any]]:
    facts = (
        ("Customer", 1893, "8.4127", "27.9013", "43.2000", "0.0241"),
        ("Product", 4, "61.0400", "100.0000", "100.0000", "0.4413"),
        ("Region", 11, "38.2210", "86.1009", "99.4102", "0.2107"),
        ("Facility", 3, "55.6000", "100.0000", "100.0000", "0.4268"),
    )
    names = ("dimension", "members", "top1", "top5", "top10", "hhi")
    return [dict(zip(names, line, strict=True)) for line in facts]


def collections() -> list[dict[str, Any]]:
    found = []
    for index, day in enumerate(month_ends(18)):
        due, rate = Decimal(1400000 + 61000 * index), Decimal("97.10") + wave(index, "3.2")
        found.append({"month": day, "due": f"{due:.4f}", "received": f"{due * rate / 100:.4f}", "rate": f"{rate:.4f}"})
    return found


def definitions() -> list[dict[str, str]]:
    ageing = "dpd_30_60_usd, dpd_60_90_usd, dpd_90_plus_usd"
    return [
        {
            "name": "PAR 30",
            "formula": f"SUM({ageing}) / SUM(total_receivable_usd) * 100",
            "unit": "%",
            "text": "Share of the receivable that is 30 days past due or more.",
        },
        {
            "name": "Scheduled collection rate",
            "formula": "SUM(received_in_period) / SUM(scheduled_in_period) * 100",
            "unit": "%",
            "text": "Cash received in the period as a share of the cash scheduled for it.",
        },
        {
            "name": "Active clients",
            "formula": "COUNT(DISTINCT CASE WHEN outstanding_usd > 0 THEN customer_id END)",
            "unit": "clients",
            "text": "Customers with something outstanding.",
        },
    ]


def checks() -> list[dict[str, Any]]:
    lines = (
        ("RF-01", "The roll-forward closes for every loan", "passed", 0, "0"),
        ("RF-02", "Payments have a loan in the tape", "warning", 3, "1204.5500"),
        ("RF-03", "No loan has more principal paid than disbursed", "failed", 2, "88.1000"),
        ("RF-04", "Cash agrees with the bank statement", "not_computable", None, None),
    )
    return [dict(zip(("code", "text", "status", "count", "amount"), line, strict=True)) for line in lines]


def document() -> dict[str, Any]:
    """Everything a book may hold."""
    dates = month_ends()
    opening = Decimal("7296120.1100")
    flows = {
        "disbursed": "18208411.9000",
        "capitalised": "12480.0000",
        "reinstated": "31944.2500",
        "principal_paid": "13104208.3300",
        "newly_written_off": "276210.4800",
        "dust_forgiven": "4102.7700",
        "currency": "-5806.0000",
        "other": "0",
    }
    signs = {"principal_paid": -1, "newly_written_off": -1, "dust_forgiven": -1}
    assert opening + sum(signs.get(name, 1) * Decimal(value) for name, value in flows.items()) - TOTAL == Decimal(
        "-0.0700"
    ), "the sample shows a break of seven cents"
    return {
        "title": "Portfolio book",
        "lender": "Abaco Factoring S.A.",
        "generated_at": "2026-01-04T08:12:33+00:00",
        "release": "2026.01 (7c1d02f9a4be)",
        "definition": {
            "name": "investor",
            "version": "1",
            "text": "As debt investors ask for it; written off after 180 days, remainders under 1 % are dust.",
            "parameters": {
                "boundary": "at_least",
                "cover": "total_due",
                "restructured": "by_schedule",
                "dust_share": "0.01",
                "write_off_after_days": 180,
            },
        },
        "panel_id": "4f0c3b1e77a2d9156b0e",
        "currency": "USD",
        "as_of": dates[-1],
        "dates": dates,
        "tape": {
            "name": "servicing_2025-12.zip",
            "sha256": "9f2b7c0d41e6a8835bd9f0c2a7714e93c6d81f5e02ab4937d0586ee1f3a79b24",
            "layout": "servicing",
            "mapping": "factoring",
            "rows": 61248,
        },
        "tiles": tiles(),
        "par": {"dates": dates, **{f"par_{k}": par(k) for k in (7, 30, 60, 90)}},
        "ageing": {
            "as_of": dates[-1],
            "states": [
                {"state": state, "loans": loans, "outstanding": balance, "share": share(balance)}
                for state, loans, balance in zip(STATES, LOANS, BALANCES, strict=True)
            ],
        },
        "waterfall": {
            "start": dates[11],
            "end": dates[-1],
            "opening": str(opening),
            **flows,
            "closing": str(TOTAL),
        },
        "roll_rates": roll_rates(),
        "vintages": [vintage(30, "7.5"), vintage(90, "3.1")],
        "concentration": concentration(),
        "collections": collections(),
        "checks": checks(),
        "quality": {
            "files": [
                {"name": "loans.csv", "rows": 8120, "accepted": 8104, "quarantined": 12, "duplicates": 4},
                {"name": "schedules.csv", "rows": 31006, "accepted": 31006, "quarantined": 0, "duplicates": 0},
                {"name": "transactions.csv", "rows": 22122, "accepted": 22091, "quarantined": 31, "duplicates": 0},
            ],
            "warnings": [
                {"code": "WARN-101", "text": "numbers with more digits than the contract keeps", "count": 418},
                {"code": "WARN-104", "text": "loans without a due date", "count": 2},
            ],
        },
        "definitions": definitions(),
        "notes": ["Two month ends of 2024 were not delivered; they are gaps in every curve."],
        "absent": {},
    }


PAYLOADS = (
    "<script>planted()</script>",
    "<img src=x onerror=planted()>",
    "\"' onfocus=planted() autofocus x='",
    "</style><style>*{background:url(https://planted.example/c)}</style>",
    "</title></svg><svg onload=planted()>",
    "<a href='javascript:planted()'>x</a>",
    "javascript:planted()",
    "--><iframe src=https://planted.example></iframe>",
    "{{ 7 * 7 }}{% raw %}]]>&lt;",
)
_PLAIN = re.compile(r"-?[0-9][0-9.:T+-]*|at_least|")


def hostile(value: Any) -> Any:
    """The document with markup in every text: values, and names that are the document's own.

    Numbers, dates and the directions of thresholds stay, for what is no number is refused and not shown.
    """
    if isinstance(value, dict):
        return {_planted_key(key): item if key == "direction" else hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return planted(value)
    return value


def planted(text: str) -> str:
    """The text with every payload after it."""
    return f"{text}{''.join(PAYLOADS)}"


def _planted_key(key: str) -> str:
    return planted(key) if key in ENDS or key in ("boundary", "cover", "restructured") else key
