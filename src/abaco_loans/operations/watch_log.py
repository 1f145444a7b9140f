"""The log of a watch: a line for every tick that did something, for people who follow. The records are what counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaco_loans.operations.incident_report import LOG_FOLDER
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.lines import append_line, printable
from abaco_loans.watch.checkpoint import PIPELINE, VALIDATION
from abaco_loans.watch.metric import METRICS

_UNMEASURED = "not measured"


def hourly_line(document: Mapping[str, Any], at: str) -> str:
    """What a tick did, in one line: checkpoint, figures, and what follows; '' where it did nothing to speak of.

    Args:
        document: of `watch_document.tick_document`.
        at: when the tick was, for one without a checkpoint; ISO text.
    """
    watch, done = document["watch"], document["done"]
    said = [
        *([f"missed=hour {','.join(document['missed'])}"] if document["missed"] else []),
        *(f"default=hour {item['hour']}: {item['decision']}" for item in document["defaulted"]),
        *(f"asked=hour {item['hour']} until {item['deadline']}" for item in document["asked"]),
        *(_trigger(item) for item in document["triggers"] if item["fired"] or done),
    ]
    if watch is None or (done is None and not said):
        return ""
    head = f"{done['done_at'] if done else at} watch={watch['watch_id']} release={watch['release']}"
    figures = [_checkpoint(done)] if done else []
    return printable(" ".join([head, f"status={watch['status']}", *figures, *said]))


def _checkpoint(done: Mapping[str, Any]) -> str:
    metrics = done["metrics"]
    found = (f"{name}={metrics.get(name) or _UNMEASURED}" for name in (*METRICS, PIPELINE, VALIDATION))
    return " ".join([f"hour={done['hour']} mark={done['mark']}", *found, f"event={done['event']}"])


def _trigger(item: Mapping[str, Any]) -> str:
    what = "ROLLBACK PROPOSED" if item["fired"] else _UNMEASURED
    return f"trigger={item['cause']}: {what}: {item['words']}"


def write_watch_log(workspace: Workspace, document: Mapping[str, Any], at: str) -> Path | None:
    """Append the line of a tick to ``logs/watch_CUTOVER.log``, durably; the log, or None where nothing is to be said.

    Raises:
        WorldError: ``OUT-1xx`` it cannot be written.
    """
    line = hourly_line(document, at)
    if not line:
        return None
    path = workspace.root / LOG_FOLDER / f"watch_{document['watch']['watch_id']}.log"
    append_line(path, line)
    return path
