"""The parts that reports of a cutover share: each takes the facts and gives tables, lists and notes with sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from abaco_loans.outputs.layout import Absent, Listed, Note, Part
from abaco_loans.outputs.numbers import beside, brief, grouped
from abaco_loans.outputs.reports.words import (
    NOT_MEASURED,
    Facts,
    mark_cell,
    mark_words,
    measured,
    moment,
    seconds,
    short,
    to_the_second,
)
from abaco_loans.outputs.tables import Cell, Table, cell, number

_FIGURES = (
    ("kpi_latency_ms", "Latency", "ms"),
    ("error_rate_percent", "Errors", "%"),
    ("memory_mb", "Memory", "MB"),
    ("cpu_percent", "CPU", "%"),
    ("audit_trail_events", "Events", "a run"),
    ("kpi_variance_percent", "Variance", "%"),
    ("pipeline_status", "Pipeline", ""),
    ("validation_status", "Validation", ""),
)
_STEP_TONES = {"done": "good", "failed": "bad", "undone": "watch", "started": "watch"}
_OUTCOMES = {"pass": "good", "fail": "bad", "inconclusive": "watch"}
# What fits two lines of a table on one sheet.
_REASON_MAX = 120
BLANK = Cell(text="", css="blank")


def phase_parts(facts: Facts) -> Iterator[Part]:
    """The phases of the plan, and what failed in them."""
    yield Table(
        title="Phases",
        head=(cell("Phase"), cell("How it ended"), cell("Began"), number("Took"), number("May take"), cell("Source")),
        rows=[
            (
                cell(f"{item['phase']} {item['name']}"),
                _phase_cell(item),
                cell(to_the_second(item["started_at"])),
                number(seconds(item["seconds"]) if item["started_at"] else ""),
                number(f"{grouped(item['allowed_seconds'])} s"),
                cell(item["source"]),
            )
            for item in facts["phases"]
        ],
        css="plain",
    )
    bad = [item for item in facts["steps"] if item["status"] in ("failed", "undone")]
    if bad:
        yield Table(
            title="Steps that failed or were taken back",
            head=(cell("Step"), cell("Status"), cell("Why"), cell("Source")),
            rows=[
                (
                    cell(f"{item['number']} {item['name']}"),
                    Cell(text=item["status"], tone=_STEP_TONES[item["status"]]),
                    cell(item["words"] or "no reason was recorded"),
                    cell(item["source"]),
                )
                for item in bad
            ],
            css="plain",
        )


def _phase_cell(item: Mapping[str, Any]) -> Cell:
    if not item["started_at"]:
        return Cell(text="not begun", tone="none")
    if item["failed"]:
        return Cell(text="failed", tone="bad", note=f"{item['done']} of {item['steps']} steps done")
    whole = item["done"] == item["steps"]
    return Cell(text="done" if whole else "not finished", tone="good" if whole else "watch")


def checkpoint_parts(facts: Facts, *, until: str = "", to_come: bool = False) -> Iterator[Part]:
    """The figures of the checkpoints; what could not be measured says so.

    Args:
        until: the last hour that is shown; '' for all that are recorded.
        to_come: whether those that are not due yet are shown, too.
    """
    watch = facts["watch"]
    if watch is None:
        yield Absent(title="Checkpoints", words=NOT_MEASURED, reason="Production was not watched after this cutover.")
        return
    shown = [item for item in watch["checkpoints"] if to_come or item["mark"] not in ("TO COME", "NOT DONE")]
    if until:
        shown = [item for item in shown if Decimal(item["hour"]) <= Decimal(until)]
    if not shown:
        yield Absent(title="Checkpoints", words=NOT_MEASURED, reason="None was done yet.")
        return
    yield Table(
        title="Checkpoints",
        head=(cell("Hour"), cell("Mark"), *(number(title, note=unit) for _, title, unit in _FIGURES), cell("Source")),
        rows=[
            (
                cell(item["hour"]),
                mark_cell(item["mark"]),
                *(number(_figure(item, name)) for name, _, _ in _FIGURES),
                cell(f"event {item['event']}" if "event" in item else ""),
            )
            for item in shown
        ],
        css="figures",
    )
    yield from _finding_parts(shown)


def _figure(item: Mapping[str, Any], name: str) -> str:
    """A figure as it was measured; a dash where there was no checkpoint to measure it."""
    if "metrics" not in item or not item["metrics"]:
        return "–"
    said = item["judged"]["figures"].get(name, {}).get("status", "UNKNOWN")
    value = item["metrics"].get(name)
    if said == "NOT_APPLICABLE":
        return "n/a"
    return mark_words(value) if value is not None else NOT_MEASURED


def _finding_parts(shown: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    rows = [
        (cell(f"Hour {item['hour']}"), mark_cell(said["status"]), cell(said["words"]), cell(f"event {item['event']}"))
        for item in shown
        if item.get("judged")
        for said in item["judged"]["figures"].values()
        if said["status"] not in ("PASS", "NOT_APPLICABLE")
    ]
    fired = [
        (
            cell(f"Hour {item['hour']}"),
            Cell(text=_fired(said), tone="bad"),
            cell(said["words"]),
            cell(f"event {item['event']}"),
        )
        for item in shown
        if item.get("judged")
        for said in item["judged"]["triggers"]
    ]
    if rows or fired:
        head = (cell("Checkpoint"), cell("Mark"), cell("Finding"), cell("Source"))
        yield Table(title="What was not good", head=head, rows=[*fired, *rows], css="plain")


def _fired(said: Mapping[str, Any]) -> str:
    return "calls for a rollback" if said["fired"] else NOT_MEASURED


def decision_parts(facts: Facts) -> Iterator[Part]:
    """Decisions that were asked for."""
    decisions = facts["watch"]["decisions"] if facts["watch"] else ()
    if not decisions:
        yield Note(text="No decision was asked for yet.")
        return
    yield Table(
        title="Decisions",
        head=(cell("Hour"), cell("Decision"), cell("By"), cell("Reason"), cell("Source")),
        rows=[
            (
                cell(item["hour"]),
                cell(_made(item, facts["watch"])),
                cell(decider(item)),
                cell(item["reason"]),
                cell(f"event {item['event']}"),
            )
            for item in decisions
        ],
        css="plain",
    )


def ended(watch: Mapping[str, Any]) -> bool:
    """Whether nothing of a watch can be decided any more."""
    return watch["status"] not in ("watching", "extended")


def _made(item: Mapping[str, Any], watch: Mapping[str, Any]) -> str:
    if item["decision"]:
        return _choice(item["decision"])
    return "not decided: the watch ended" if ended(watch) else f"open until {moment(item['deadline'])}"


def decider(item: Mapping[str, Any]) -> str:
    """Who decided."""
    if item["decision"] is None:
        return "nobody yet"
    return "nobody: the default" if item["by_default"] else item["decided_by"] or "nobody"


def _choice(choice: str) -> str:
    return choice.replace("_", " ")


def criteria_table(point: Mapping[str, Any]) -> Table:
    """The criteria of a decision point, met or not, as the recorded checkpoints meet them."""
    return Table(
        title=f"Criteria at hour {point['hour']}",
        head=(cell("Criterion"), cell("Met"), cell("What stands against it")),
        rows=[
            (
                cell(item["criterion"]),
                Cell(text="met" if item["met"] else "not met", tone="good" if item["met"] else "bad"),
                cell(item["words"]),
            )
            for item in point["criteria"]
        ],
        css="plain",
    )


def kpi_parts(facts: Facts, *, most: int = 0) -> Iterator[Part]:
    """KPIs before and after, on the same tape, with the reasons of what differs.

    Args:
        most: at most so many rows, the largest differences first, with reasons that are cut; 0: all.
    """
    kpis = facts["kpis"]
    if not kpis["items"]:
        reason = kpis["why"] or "No KPI is said by both releases."
        yield Absent(title="KPIs before and after", words=NOT_MEASURED, reason=f"{reason[:1].upper()}{reason[1:]}.")
        return
    cutover, items = facts["cutover"], kpis["items"]
    shown = sorted(items, key=_worst_first)[:most] if most else items
    yield Table(
        title=f"KPIs on the tape {kpis['tape']}, as of {kpis['as_of']}: {kpis['verdict']}",
        head=(
            cell("KPI"),
            number(cutover["from"]),
            number(cutover["to"]),
            number("Unexplained"),
            cell("Why it differs"),
        ),
        rows=[_kpi_row(item, brief_reasons=bool(most)) for item in shown],
        note=f"Source: {kpis['source']}. " + _left_out(len(items) - len(shown), kpis["not_compared"]),
        css="plain",
    )


def _worst_first(item: Mapping[str, Any]) -> tuple[bool, Decimal]:
    """What failed, then what is explained least; what has no ratio before what has one."""
    rest = item["unexplained_percent"]
    return item["outcome"] != "fail", Decimal("-Infinity") if rest is None else -abs(Decimal(rest))


def _left_out(hidden: int, not_compared: int) -> str:
    said = [f"{hidden} more stand in the handoff document."] if hidden else []
    if not_compared:
        said.append(f"{not_compared} KPIs have no value in both releases, and were not compared.")
    return " ".join(said)


def _kpi_row(item: Mapping[str, Any], *, brief_reasons: bool) -> tuple[Cell, ...]:
    before, after = beside([item["before"], item["after"]])
    rest = item["unexplained_percent"]
    causes = [f"{part['cause']}: {part['text']}" if part["text"] else part["cause"] for part in item["causes"]]
    why = "; ".join(causes) if causes else item["words"]
    why = short(why, _REASON_MAX) if brief_reasons else why
    return (
        Cell(text=item["name"], note=item["unit"]),
        number(before),
        number(after),
        number(NOT_MEASURED if rest is None else f"{brief(rest, 3)} %"),
        Cell(
            text=item["verdict"],
            tone=_OUTCOMES.get(item["outcome"], "none"),
            note=why if why != item["verdict"] else "",
        ),
    )


def no_loss_parts(facts: Facts) -> Iterator[Part]:
    """What shows that nothing was lost, and what is not known."""
    found, rollback = facts["no_loss"], facts["rollback"]
    tapes = found["counts"]
    rows = [
        (cell("Tapes that were acknowledged, ever"), number(grouped(found["acknowledged"])), cell(found["source"])),
        (
            cell("Of these done, waiting or running, failed"),
            number(f"{tapes['done']}, {tapes['queued'] + tapes['leased']}, {tapes['failed']}"),
            cell(found["source"]),
        ),
        (cell("Lost"), number(measured(found["lost"])), cell(found["source"])),
        (
            cell("Arrived during the switch, and ran after it"),
            number(measured(found["ran_after_the_switch"])),
            cell(found["ran_source"]),
        ),
        (
            cell("Interrupted by the switch, and queued again"),
            number(measured(found["fenced"])),
            cell(found["fenced_source"]),
        ),
        (
            cell("Files of the snapshot, each with its hash"),
            number(measured(found["snapshot_files"])),
            cell(found["snapshot_source"]),
        ),
        (cell("Audit ledger"), number(_ledger(found["ledger_verified"])), cell(found["source"])),
    ]
    if rollback:
        lost = measured(rollback["lost"])
        rows.append((cell("Served by the new release, and not served again"), number(lost), cell(rollback["source"])))
    yield Table(
        title="Every tape is accounted for" if found["lost"] == 0 else "What became of every tape",
        head=(cell("What"), number("Found"), cell("Source")),
        rows=rows,
        css="plain",
    )


def _ledger(verified: bool | None) -> str:
    return {True: "verified", False: "DOES NOT VERIFY", None: NOT_MEASURED}[verified]


def open_points(facts: Facts) -> list[str]:
    """What is not settled, from the records alone."""
    watch, found = facts["watch"], []
    cutover = facts["cutover"]
    if facts["state"] in ("stopped", "rolled_back", "going_back"):
        found.append(f"{cutover['to']} has not taken over: why has to be found before another cutover is planned.")
    if facts["state"] == "held":
        found.append("The cutover is held: resume or abort it.")
    if watch is None and facts["state"] == "unwatched":
        found.append("No watch began with this cutover.")
    if watch is not None:
        for item in watch["decisions"]:
            if item["decision"] is None and not ended(watch):
                found.append(f"The decision at hour {item['hour']} is open until {moment(item['deadline'])}.")
            elif item["by_default"]:
                found.append(
                    f"Nobody decided at hour {item['hour']}: the default, {_choice(item['decision'])}, happened."
                )
        for mark, words in (("FAIL", "failed"), ("UNKNOWN", "could not be measured"), ("MISSED", "were missed")):
            hours = [item["hour"] for item in watch["checkpoints"] if item["mark"] == mark]
            if hours:
                found.append(f"Checkpoints that {words}: hour {', '.join(hours)}.")
        if facts["state"] == "ended":
            found.append("Nobody signed off.")
    fired = [item for item in facts["alerts"]["fired"] or () if item["status"] != "resolved"]
    found += [f"Open alert: {item['rule']} {item['subject']}".rstrip() + f", {item['severity']}." for item in fired]
    if facts["no_loss"]["lost"]:
        found.append(f"{facts['no_loss']['lost']} tapes are lost.")
    if facts["no_loss"]["lost"] is None:
        found.append("Whether a tape is lost could not be found out.")
    if facts["no_loss"]["ledger_verified"] is not True:
        found.append(f"The audit ledger: {_ledger(facts['no_loss']['ledger_verified'])}.")
    if facts["kpis"]["why"]:
        found.append(f"The KPIs of both releases are not compared: {facts['kpis']['why']}.")
    waiting = facts["no_loss"]["counts"]["queued"] + facts["no_loss"]["counts"]["leased"]
    if waiting:
        found.append(f"{waiting} tapes wait or run.")
    if facts["no_loss"]["counts"]["failed"]:
        found.append(f"{facts['no_loss']['counts']['failed']} tapes have failed and stay aside.")
    return found


def open_parts(facts: Facts) -> Iterator[Part]:
    """The open points, or that there are none in the records."""
    found = open_points(facts)
    yield Listed(items=found) if found else Note(text="The records hold no open point.")
