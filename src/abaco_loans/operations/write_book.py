"""``abaco report book``: the latest panel as a document, from recorded facts and views alone.

Everything in it may be shared: no view that names loans or customers is used. It is a list of documents' parts; how
they look is decided in `outputs.book`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.kpi.catalogue import Kpi
from abaco_loans.kpi.formula import rounded
from abaco_loans.kpi.result import text_of
from abaco_loans.operations.show_view import OpenPanel, find_view, open_panel, show_view
from abaco_loans.operations.tools import Tools
from abaco_loans.outputs.publish import sync, world
from abaco_loans.portfolio.columns import MISSING, REPAID, WRITTEN_OFF
from abaco_loans.portfolio.series import changes
from abaco_loans.records.runs import KpiRow

TILES = (
    "finance.outstanding",
    "risk.par_30",
    "risk.par_90",
    "finance.scheduled_collection_rate",
    "risk.write_off_rate",
    "finance.weighted_apr",
    "concentration.top_10_customers",
    "growth.active_clients",
    "growth.client_retention",
)
PAR = ("par_7", "par_30", "par_60", "par_90")
VIEWS = ("ageing", "collections", "concentration", "roll_forward", "vintages")
WINDOW = 12
Rows = list[dict[str, Any]]


def write_book(tools: Tools, path: Path, *, panel_id: str | None = None, lender: str = "") -> dict[str, Any]:
    """Write the book of a panel to an HTML file, all or nothing; gives the document.

    Raises:
        UsageError: ``PAN-105`` there is no panel.
        WorldError: the file cannot be written, or a package is missing.
    """
    from abaco_loans.outputs import book

    with open_panel(tools, panel_id) as opened, tools.open_records() as records:
        values = [row for row in records.reader.kpi_values(opened.record.run_id) if not row.segment]
        document = book_document(opened, values, tools, lender)
    with world(path):
        part = path.with_name(f".{path.name}.part")
        book.write_book(document, part)
        sync(part)
        part.replace(path)
    return document


def book_document(opened: OpenPanel, values: Sequence[KpiRow], tools: Tools, lender: str) -> dict[str, Any]:
    """The document that `outputs.book` writes (its shape stands there)."""
    release = tools.workspace.release(opened.record.release)
    by_kpi: dict[str, list[KpiRow]] = {}
    for row in values:
        by_kpi.setdefault(row.kpi_id, []).append(row)
    panel, definition = opened.document, opened.document["definition"]
    kpis = {kpi.id: kpi for kpi in release.catalogue.kpis}
    views = {name: _view(opened, name) for name in VIEWS}
    return {
        "title": "The book over time",
        "lender": lender or tools.workspace.root.name,
        "generated_at": tools.clock.now().isoformat(timespec="seconds"),
        "release": f"{opened.record.release} (meaning {panel['release']['meaning'][:12]})",
        "definition": {
            "name": definition["name"],
            "version": definition["version"],
            "text": release.definition(definition["name"], panel["tape"]["layout"]).description,
            "parameters": {k: v for k, v in definition.items() if k not in ("name", "version")},
        },
        "panel_id": opened.record.run_id,
        "currency": panel["currency"],
        "as_of": panel["dates"][-1],
        "dates": panel["dates"],
        "tape": {**panel["tape"], "rows": panel["rows"]["in"]},
        "tiles": [_tile(kpis[name], by_kpi[name]) for name in TILES if name in by_kpi and name in kpis],
        "par": _par(panel["dates"], by_kpi),
        "ageing": _ageing(views["ageing"], panel["dates"][-1]),
        "waterfall": _waterfall(views["roll_forward"], panel),
        "roll_rates": _roll_rates(opened),
        "vintages": _vintages(views["vintages"]),
        "concentration": _concentration(views["concentration"]),
        "collections": _collections(views["collections"]),
        "checks": panel["checks"],
        "quality": {"files": panel["files"], "warnings": panel["warnings"]},
        "definitions": [_definition(kpi) for kpi in release.catalogue.kpis],
        "notes": _notes(panel),
        "absent": _absent(panel),
    }


def _view(opened: OpenPanel, name: str, window: int = WINDOW) -> Rows:
    """The rows of a view as plain data: decimals as text."""
    table = show_view(find_view(name), opened.asked(window=window))
    names = [column.name for column in table.columns]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in table.rows]


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return text_of(value)
    return value if value is None or isinstance(value, (int, str)) else str(value)


def _tile(kpi: Kpi, rows: Sequence[KpiRow]) -> dict[str, Any]:
    last = rows[-1]
    month = changes({row.as_of: row.value_exact for row in rows}, last.as_of)["month"]
    return {
        "id": kpi.id,
        "name": kpi.name,
        "value": text_of(last.value),
        "unit": kpi.unit,
        "status": last.status,
        "reason": last.reason,
        "thresholds": kpi.thresholds and kpi.thresholds.as_dict(),
        "change_month": text_of(rounded(month.absolute, kpi.precision)) if month else None,
        "series": [[str(row.as_of), text_of(row.value)] for row in rows],
    }


def _par(dates: Sequence[str], by_kpi: Mapping[str, Sequence[KpiRow]]) -> dict[str, Any] | None:
    found: dict[str, Any] = {"dates": list(dates)}
    for name in PAR:
        values = {str(row.as_of): text_of(row.value) for row in by_kpi.get(f"risk.{name}", ())}
        if any(value is not None for value in values.values()):
            found[name] = [values.get(day) for day in dates]
    return found if len(found) > 1 else None


def _ageing(rows: Rows, last: str) -> dict[str, Any] | None:
    states = [
        {
            "state": row["state"],
            "loans": row["loans"],
            "outstanding": row["outstanding"],
            "share": row["share"],
        }
        for row in rows
        if row["as_of"] == last and row["state"] != WRITTEN_OFF
    ]
    return {"as_of": last, "states": states} if states else None


def _waterfall(rows: Rows, panel: Mapping[str, Any]) -> dict[str, Any] | None:
    """The roll-forward of the last twelve periods together: flows add over time, balances do not."""
    window = rows[-WINDOW:]
    lines = ("disbursed", "capitalised", "reinstated", "principal_paid", "dust_forgiven", "currency")
    named = {**{name: name for name in lines}, "written_off": "newly_written_off", "other_adjustments": "other"}
    if not window or any(row[name] is None for row in window for name in named):
        return None
    return {
        "start": panel["starts"][-len(window)],
        "end": panel["dates"][-1],
        "opening": window[0]["opening"],
        **{shown: text_of(sum((Decimal(row[name]) for row in window), Decimal(0))) for name, shown in named.items()},
        "closing": window[-1]["closing"],
    }


def _roll_rates(opened: OpenPanel) -> dict[str, Any] | None:
    rows = _view(opened, "roll_rates_average")
    if not rows:
        return None
    buckets = opened.asked().definition.buckets
    order = [*buckets, WRITTEN_OFF, REPAID, MISSING]
    made: dict[str, dict[str, Any]] = {}
    for row in rows:
        made.setdefault(row["from_state"], {})[row["to_state"]] = {
            "rate": row["rate_by_balance"],
            "count_rate": row["rate_by_count"],
            "low": row["rate_by_count_low"],
            "high": row["rate_by_count_high"],
            "balance": row["balance"],
        }
    there = {*made, *(state for found in made.values() for state in found)}
    periods = min(WINDOW, len(opened.dates) - 1)
    return {
        "window": f"the last {periods} periods together, to {opened.dates[-1]}",
        "interval": "the rate by count of loans, and its 95 % interval (Wilson)",
        "states": [state for state in order if state in there],
        "rows": [{"from": state, "to": made[state]} for state in order if state in made],
    }


def _vintages(rows: Rows) -> list[dict[str, Any]]:
    found = []
    for k in (30, 60, 90):
        cohorts: dict[str, dict[str, Any]] = {}
        for row in rows:
            made = cohorts.setdefault(row["cohort"], {"cohort": row["cohort"], "disbursed": None, "points": []})
            made["disbursed"] = row["disbursed"]
            made["points"].append([row["month"], row[f"late_{k}"]])
        if cohorts:
            found.append({"k": k, "cohorts": list(cohorts.values())})
    return found


def _concentration(rows: Rows) -> Rows:
    keys = {"top1": "top_1", "top5": "top_5", "top10": "top_10", "hhi": "hhi"}
    words = {"customer_id": "customer"}
    return [
        {
            "dimension": words.get(row["dimension"], row["dimension"]),
            "members": row["members"],
            **{shown: row[name] for shown, name in keys.items()},
        }
        for row in rows
    ]


def _collections(rows: Rows) -> Rows:
    return [
        {"month": row["as_of"], "due": row["scheduled"], "received": row["received"], "rate": row["collection_rate"]}
        for row in rows
        if row["scheduled"] is not None
    ]


def _definition(kpi: Kpi) -> dict[str, str]:
    return {"name": kpi.name, "formula": " ".join(kpi.formula.text.split()), "unit": kpi.unit, "text": kpi.description}


def _notes(panel: Mapping[str, Any]) -> list[str]:
    if not panel["rows"]["quarantined"]:
        return []
    return [f"{panel['rows']['quarantined']:,} rows were refused and are not in these numbers."]


def _absent(panel: Mapping[str, Any]) -> dict[str, str]:
    """Why a part may be missing."""
    if panel["dated"]:
        why = "loan snapshots do not say what was paid or due"
        return {"waterfall": why, "collections": why}
    lacking = "the panel has one date; build it over several"
    return dict.fromkeys(("roll_rates", "waterfall", "vintages"), lacking) if len(panel["dates"]) < 2 else {}
