"""Believable documents of shadow runs: one that passes by rounding, one with an unexplained part, one that crashed."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal, localcontext
from hashlib import sha256
from typing import Any

from tests.outputs.book_document import planted

EXACT = "2.210712345678901234567890123"
NAMES = {
    "risk.par_30": ("PAR 30", "%"),
    "risk.par_60": ("PAR 60", "%"),
    "risk.par_90": ("PAR 90", "%"),
    "risk.collection_rate": ("Collection rate", "%"),
    "risk.portfolio_health": ("Portfolio health", "score"),
    "finance.outstanding": ("Outstanding", "USD"),
    "finance.weighted_apr": ("Weighted APR", "%"),
    "growth.active_clients": ("Active clients", "clients"),
    "growth.client_retention": ("Client retention", "%"),
    "compliance.audit_flags": ("Active audit flags", "flags"),
}


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def compared(
    kpi: str, baseline: str | None, candidate: str | None, verdict: str, words: str, outcome: str = "pass", **more: Any
) -> dict[str, Any]:
    """A cell: difference and variance are computed, the whole difference is unexplained or explained by verdict."""
    difference = variance = None
    if baseline is not None and candidate is not None:
        with localcontext(prec=60):
            difference = Decimal(candidate) - Decimal(baseline)
        variance = f"{abs(difference) / abs(Decimal(baseline)) * 100:.24f}" if Decimal(baseline) else None
    left = difference if verdict in ("unexplained", "within tolerance") else 0
    return {
        "name": NAMES[kpi][0],
        "unit": NAMES[kpi][1],
        "baseline": baseline,
        "candidate": candidate,
        "difference": None if difference is None else f"{difference:f}",
        "variance_percent": variance,
        "noise": None if difference is None else "0",
        "tolerance": {"pass_percent": "0.1", "halt_percent": "1"},
        "verdict": verdict,
        "words": words,
        "explained": None if difference is None else f"{difference - (left or 0):f}",
        "unexplained": None if difference is None else f"{left:f}",
        "unexplained_percent": None if difference is None else (variance if left else "0"),
        "causes": [],
        "crossed": [],
        "outcome": outcome,
        **more,
    }


def part(cause: str, text: str, contribution: str, loans: int | None = None, top: Any = ()) -> dict[str, Any]:
    return {"cause": cause, "text": text, "contribution": contribution, "loans": loans, "top": list(top)}


def loan(loan_id: str, contribution: str, before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    return {"loan_id": loan_id, "contribution": contribution, "before": before, "after": after}


def bridge(kpi: str, baseline: str | None, parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A bridge that closes: the candidate's value is what the parts make of the baseline's."""
    with localcontext(prec=60):
        moves = [Decimal(item["contribution"]) for item in parts]
        candidate = None if baseline is None else Decimal(baseline) + sum(moves)
        left = sum((m for m, item in zip(moves, parts, strict=True) if item["cause"] == "unexplained"), Decimal(0))
        return {
            "kpi": kpi,
            "baseline": baseline,
            "candidate": None if candidate is None else f"{candidate:f}",
            "difference": None if baseline is None else f"{sum(moves):f}",
            "unexplained": f"{left:f}",
            "not_bridged": "",
            "not_by_loan": "",
            "parts": parts,
            **more,
        }


def run(seconds: str, memory: str, **more: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "seconds": seconds,
        "peak_memory_mb": memory,
        "isolation": ["memory", "writes", "signals", "orphans"],
        "error": None,
        "rows": {"in": 17690, "accepted": 17688, "quarantined": 2, "duplicates": 0},
        **more,
    }


def side(release: str, kind: str, definition: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "release": release,
        "kind": kind,
        "meaning": digest(f"meaning {release}"),
        "policy": digest(f"policy {release}"),
        "definition": definition,
        "runs": runs,
    }


def reason(outcome: str, kpi: str, words: str, *, halts: bool = False, segment: str = "", value: str = "") -> Any:
    return {
        "outcome": outcome, "kpi": kpi, "segment": segment, "segment_value": value, "words": words, "halts": halts
    }  # fmt: skip


def passed() -> dict[str, Any]:
    """v1, an old report that rounds, beside v2: all that differs is explained by that."""
    rounded = "explained by one-decimal rounding"
    kpis = {
        "risk.par_30": compared("risk.par_30", "2.2", EXACT, "explained", rounded, causes=["rounding of the output"]),
        "risk.par_60": compared("risk.par_60", "1.2", "1.2409", "explained", rounded),
        "risk.par_90": compared("risk.par_90", "0.3", "0.3194", "explained", f"{rounded}, as expected"),
        "risk.collection_rate": compared("risk.collection_rate", "12.0", "11.9733", "explained", rounded),
        "risk.portfolio_health": compared("risk.portfolio_health", "7.1", "7.1", "same", "both say the same"),
        "finance.outstanding": compared(
            "finance.outstanding", "7813806.55", "7813806.554321", "within tolerance", "within 0.1 %"
        ),
        "finance.weighted_apr": compared(
            "finance.weighted_apr", None, "18.44", "not comparable", "the baseline does not say it", "not judged"
        ),
    }
    for kpi, value in (("growth.active_clients", "412"), ("growth.client_retention", "88.1")):
        kpis[kpi] = compared(kpi, value, value, "same", "both say the same")
    kpis["compliance.audit_flags"] = compared(
        "compliance.audit_flags", None, None, "not comparable", "both: not computable: no table of audits", "not judged"
    )
    output = "2.2 stands for all numbers from 2.15 to 2.25"
    return {
        "shadow_id": "20250430-0f3ac2d1b4e5",
        "verdict": "pass",
        "stops": False,
        "dry_run": False,
        "compared_at": "2026-01-31T12:00:04.512340+00:00",
        "as_of": "2025-04-30",
        "currency": "USD",
        "tape": {"name": "factoring", "sha256": digest("tape"), "layout": "servicing"},
        "baseline": side("v1", "command", "legacy", [run("0.81", "61.2"), run("0.79", "61.3")]),
        "candidate": side("v2", "catalogue", "investor", [run("1.42", "188.6")]),
        "gates": {
            "digest": digest("gates"),
            "expected_digest": digest("expected"),
            "pass_score": "100",
            "score": "100",
            "pending": [],
            "loosened": [],
        },
        "reasons": [
            reason("not judged", "finance.weighted_apr", "the baseline does not say it"),
            reason("not judged", "compliance.audit_flags", "both: not computable: no table of audits"),
        ],
        "passed": [kpi for kpi, item in kpis.items() if item["outcome"] == "pass"],
        "kpis": kpis,
        "segments": {"compared": 48, "only_candidate": 0, "same": 48, "cells": []},
        "bridge": {
            "risk.par_30": bridge(
                "risk.par_30", "2.2", [part("rounding of the output", output, "0.010712345678901234567890123")]
            ),
            "risk.portfolio_health": bridge("risk.portfolio_health", "7.1", []),
            "finance.weighted_apr": bridge(
                "finance.weighted_apr", None, [], not_bridged="the baseline has no value of it"
            ),
        },
        "loans": {
            "both": 17688,
            "only_baseline": 0,
            "only_candidate": 0,
            "duplicates_baseline": 0,
            "duplicates_candidate": 0,
            "differing": 0,
            "columns": [],
        },
        "stage_moves": [],
        "noise": {"repeats": 2, "kpis": dict.fromkeys(kpis, "0")},
        "timings": {
            "baseline_seconds": ["0.81", "0.79"],
            "candidate_seconds": "1.42",
            "compare_seconds": "0.31",
            "total_seconds": "3.58",
        },
        "settled": {
            "outcome": "pass",
            "words": "passes in a row: 1 (1 wanted), tapes: 1 (1 wanted)",
            "passes": 1,
            "tapes": 1,
        },
        "notes": ["the program v1 declares no definition: it is bridged under investor"],
    }


def failed() -> dict[str, Any]:
    """Another definition, and one wrong balance that no cause accounts for; gates loosened, not by two people."""
    given = passed()
    given |= {"shadow_id": "20250430-7b0e91aa4c02", "verdict": "fail", "stops": True}
    given["baseline"] = side("v2", "catalogue", "investor", [run("1.40", "187.0"), run("1.38", "188.2")])
    given["candidate"] = side("v3", "catalogue", "strict", [run("1.51", "190.4")])
    wrong = loan(
        "DSB2685-001", "0.0094128831", {"outstanding": "7859.32", "past_due_30": "0"},
        {"outstanding": "8859.32", "past_due_30": "1000.00"},
    )  # fmt: skip
    parts = [
        part("cover", "cover total_due → principal", "0.0009703214", 2, [
            loan("DSB2572-001", "0.0008811", {"past_due_30": "0"}, {"past_due_30": "42.58"}),
            loan("DSB0417-003", "0.0000892214", {"past_due_30": "0"}, {"past_due_30": "4.31"}),
        ]),
        part("boundary", "boundary at_least → more_than", "-0.1645953644", 1, [
            loan("DSB2685-001", "-0.1645953644", {"past_due_30": "7859.32"}, {"past_due_30": "0"}),
        ]),
        part("dust", "dust_share 0.01 → 0", "0.0000015853", 8, [
            loan("DSB1924-001", "0.0000007", {"outstanding": "0"}, {"outstanding": "0.01"}),
        ]),
        part("write-off", "write_off_after_days 180 → none", "4.9388809238", 97, [
            loan(f"DSB{1274 + n}-001", f"{'1.6241873055' if n == 0 else f'0.{98 - 4 * n}20014'}",
                 {"outstanding": "0", "past_due_30": "0"},
                 {"outstanding": f"{36181 - 1450 * n}.97", "past_due_30": f"{36181 - 1450 * n}.97"})
            for n in range(20)
        ]),
        part("loans only in candidate", "in the candidate only", "0.0021", 1, [
            loan("DSB9999-001", "0.0021", {}, {"outstanding": "160.00", "past_due_30": "160.00"}),
        ]),
        part("unexplained", "rows of the candidate that differ from the recomputed ones", "0.0094128831", 1, [wrong]),
    ]  # fmt: skip
    given["bridge"] = {
        "risk.par_30": bridge("risk.par_30", "5.5399456484", parts),
        "risk.par_90": bridge("risk.par_90", "3.1", [parts[3] | {"top": [], "loans": None}],
                              not_by_loan="it is held in a range"),
        "risk.portfolio_health": bridge("risk.portfolio_health", "7.1", []),
        "growth.client_retention": bridge(
            "growth.client_retention", "88.1", [part("unexplained", "not bridged: counts customers", "-1.9")],
            not_bridged="it counts customers, who are in no loan row",
        ),
        "finance.weighted_apr": bridge("finance.weighted_apr", None, [], not_bridged="the baseline has no value of it"),
    }  # fmt: skip
    par_30, par_90 = given["bridge"]["risk.par_30"], given["bridge"]["risk.par_90"]
    given["kpis"] |= {
        "risk.par_30": compared(
            "risk.par_30", "5.5399456484", par_30["candidate"], "explained",
            "explained by cover, boundary, dust, write-off; 0.0094128831 (0.17 %) is unexplained", "fail",
            crossed=["warning threshold 8", "covenant 'PAR 30 below 10'"],
        ),
        "risk.par_90": compared(
            "risk.par_90", "3.1", par_90["candidate"], "explained", "explained by write-off, but by more than 1 %, "
            "and nobody expected it", "fail",
        ),
        "growth.client_retention": compared(
            "growth.client_retention", "88.1", "86.2", "unexplained", "unexplained by 2.16 %", "fail"
        ),
        "risk.collection_rate": compared(
            "risk.collection_rate", "0", None, "not comparable", "candidate: not computable: nothing was scheduled",
            "inconclusive",
        ),
        "risk.par_60": compared("risk.par_60", "0", "0.4", "explained", "explained by write-off, as expected"),
    }  # fmt: skip
    given["reasons"] = [
        reason("not judged", "finance.weighted_apr", "the baseline does not say it"),
        reason("inconclusive", "risk.collection_rate", "candidate: not computable: nothing was scheduled"),
        reason("fail", "risk.par_90", "explained by write-off, but by more than 1 %, and nobody expected it"),
        reason("fail", "risk.par_30", "crosses warning threshold 8, covenant 'PAR 30 below 10', and nobody expected it",
               halts=True),
        reason("fail", "growth.client_retention", "unexplained by 2.16 %", halts=True),
        reason("fail", "risk.par_30", "unexplained by 4.1 %", halts=True, segment="product", value="Confirming"),
        reason("fail", "", "the score is 41.7; 100 passes"),
    ]  # fmt: skip
    given["gates"] |= {
        "score": "41.66666666666666666666666667",
        "pending": ["risk.par_30: pass_percent 0.1 → 5"],
        "loosened": [
            {"at": "2026-01-12T09:30:00+00:00", "by": "ana", "what": ["tapes_min: 3 → 1"], "approved_by": "ben",
             "approved_at": "2026-01-12T15:02:11+00:00", "reason": "only one tape has closed"},
            {"at": "2026-01-30T17:45:00+00:00", "by": "ana", "what": ["risk.par_30: pass_percent 0.1 → 5"],
             "approved_by": None, "approved_at": None, "reason": ""},
        ],
    }  # fmt: skip
    cells = [
        compared("risk.par_30", f"{n}.25", f"{n}.{26 + n % 7}", "unexplained", f"unexplained by {n} %", "fail")
        | {"kpi": "risk.par_30", "segment": "product", "segment_value": f"Line {n}"}
        for n in range(1, 71)
    ]
    given["segments"] = {"compared": 480, "only_candidate": 0, "same": 410, "cells": cells}
    given["loans"] |= {
        "only_candidate": 1,
        "differing": 3,
        "columns": [
            {"column": "outstanding_usd", "loans": 3, "difference": "1012.34", "largest": "1000.00",
             "largest_loan": "DSB2685-001"},
            {"column": "interest_rate", "loans": 0, "difference": "0", "largest": None, "largest_loan": None},
            {"column": "product", "loans": 1, "difference": None, "largest": None, "largest_loan": None},
            {"column": "days_past_due", "loans": 2, "difference": "-4", "largest": "-3", "largest_loan": "DSB2572-001"},
        ],
    }  # fmt: skip
    given["stage_moves"] = [
        {"baseline": 1, "candidate": 2, "loans": 3, "balance_usd": "12001.10"},
        {"baseline": None, "candidate": 3, "loans": 97, "balance_usd": "412870.0000"},
    ]
    given["noise"]["kpis"]["risk.portfolio_health"] = "0.000031"
    given["settled"] = {"outcome": "fail", "words": "the last verdict is fail", "passes": 0, "tapes": 0}
    return given


def crashed() -> dict[str, Any]:
    """A candidate that printed half a document: nothing to compare, no loans, no bridge."""
    given = passed()
    given |= {
        "shadow_id": "20250430-c1d0c1d0c1d0",
        "verdict": "inconclusive",
        "stops": False,
        "dry_run": True,
        "kpis": {},
        "passed": [],
        "bridge": {},
        "loans": None,
        "segments": {"compared": 0, "only_candidate": 0, "same": 0, "cells": []},
        "reasons": [reason("inconclusive", "", "the candidate gave no result")],
    }
    error = {
        "code": "REL-210",
        "what": "the program ended with code 3 before it had printed a whole JSON document",
        "where": "releases/v2/report.py",
        "hint": "its last message was KeyError: 'saldo'",
    }
    failed_run = run("0.12", "24.0", status="crashed", error=error, rows=None)
    given["candidate"] = side("v2", "command", "", [failed_run | {"peak_memory_mb": None, "isolation": []}])
    given["gates"]["score"] = None
    given["settled"] = {
        "outcome": "inconclusive", "words": "nothing was judged by these gates yet", "passes": 0, "tapes": 0
    }  # fmt: skip
    given["noise"] = {"repeats": 2, "kpis": {}}
    given["notes"] = []
    return given


def history(document: dict[str, Any]) -> list[dict[str, Any]]:
    """This run and two before it."""
    this = {
        "shadow_id": document["shadow_id"],
        "as_of": document["as_of"],
        "tape": document["tape"]["name"],
        "compared_at": document["compared_at"],
        "baseline": document["baseline"]["release"],
        "candidate": document["candidate"]["release"],
        "verdict": document["verdict"],
        "dry_run": document["dry_run"],
    }
    earlier = {"compared_at": "2026-01-30T08:15:00+00:00", "shadow_id": "20250331-aa55aa55aa55", "as_of": "2025-03-31"}
    first = {"compared_at": "2026-01-29T08:15:00+00:00", "shadow_id": "20250228-bb66bb66bb66", "as_of": "2025-02-28"}
    return [
        this,
        deepcopy(this) | earlier | {"verdict": "pass", "dry_run": False},
        deepcopy(this) | first | {"verdict": "inconclusive", "dry_run": True},
    ]


_OURS = {"verdict", "outcome", "status", "compared_at", "at", "approved_at", "dry_run"}


def hostile(value: Any, key: str = "") -> Any:
    """A document with markup in every text that is not ours or a number, and in the names of KPIs and components."""
    if isinstance(value, dict):
        return {
            (planted(name) if key in ("kpis", "bridge", "before", "after") else name): hostile(item, name)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [hostile(item, key) for item in value]
    if not isinstance(value, str) or key in _OURS or _is_number(value):
        return value
    return planted(value)


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except ArithmeticError:
        return False
