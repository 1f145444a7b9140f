"""What a cutover did to the KPIs: both releases on the same tape, as the shadow run that was recorded last says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abaco_loans.errors import WorldError
from abaco_loans.operations.run_shadow import read_report
from abaco_loans.operations.watch_checkpoint import WatchRecords
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.cutovers import CutoverRecord, StepRecord
from abaco_loans.records.shadows import ShadowRecord
from abaco_loans.releases.plan import Plan


def kpi_facts(
    workspace: Workspace, records: WatchRecords, record: CutoverRecord, plan: Plan, steps: Sequence[StepRecord]
) -> dict[str, Any]:
    """Every KPI that both releases say, before and after, with the causes of its difference.

    The comparison of phase 5 counts; where there is none yet, the last shadow run that the plan rests on.
    """
    compared = [str(name) for step in steps for name in step.evidence.get("compared") or ()]
    known = (records.shadow_reader.get(name) for name in reversed([*plan.facts.shadow_ids, *compared]))
    found = next((item for item in known if item is not None and item.status == "finished"), None)
    if found is None:
        return {"why": "the releases were not compared", "source": "", "items": [], "not_compared": None}
    source = shadow_source(found)
    try:
        document = read_report(workspace, found)
    except WorldError as error:
        return {"why": f"{error.what} ({error.code})", "source": source, "items": [], "not_compared": None}
    swapped = found.baseline != record.from_release
    both = {name: said for name, said in document["kpis"].items() if None not in (said["baseline"], said["candidate"])}
    return {
        "why": "",
        "source": source,
        "tape": found.tape_name,
        "as_of": found.as_of.isoformat(),
        "verdict": document["verdict"],
        "items": [_kpi(name, said, document["bridge"].get(name), swapped) for name, said in both.items()],
        "not_compared": len(document["kpis"]) - len(both),
    }


def shadow_source(record: ShadowRecord) -> str:
    """Where a shadow run stands."""
    return f"shadow run {record.shadow_id}, event {record.event_seq}"


def _kpi(name: str, said: Mapping[str, Any], bridge: Mapping[str, Any] | None, swapped: bool) -> dict[str, Any]:
    before, after = ("candidate", "baseline") if swapped else ("baseline", "candidate")
    parts = bridge["parts"] if bridge else ()
    return {
        "id": name,
        "name": said["name"] or name,
        "unit": said["unit"],
        "before": said[before],
        "after": said[after],
        "verdict": said["verdict"],
        "outcome": said["outcome"],
        "words": said["words"],
        "variance_percent": said["variance_percent"],
        "unexplained_percent": said["unexplained_percent"],
        "causes": [{"cause": part["cause"], "text": part["text"]} for part in parts],
    }
