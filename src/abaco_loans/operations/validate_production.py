"""Validate production: five checks of the release that is active, of what it published and of the record of it all.

Every check looks at the real thing: tapes go through the pipeline (in a trial workspace), the last run is calculated
once more, files are hashed, the ledger is verified. What cannot be looked at is unknown, and unknown is not a pass.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from abaco_loans.errors import WorldError
from abaco_loans.operations.check_audit import check_audit
from abaco_loans.operations.check_errors import check_errors
from abaco_loans.operations.check_integrity import check_integrity
from abaco_loans.operations.check_kpis import check_kpis
from abaco_loans.operations.check_performance import check_performance, thousand_apart
from abaco_loans.operations.private_cache import remembering
from abaco_loans.operations.repeat_run import repeat_last_run
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.validation_desk import ValidateTools, known_answers, open_desk
from abaco_loans.outputs.publish import sync, world
from abaco_loans.records.ledger import NewEvent
from abaco_loans.watch.check import Report, Status

REPORT = "production_validation_report.json"


def validate_production(given: ValidateTools, baseline: Mapping[str, Decimal] | None = None) -> Report:
    """Check production now, write `REPORT` into the workspace, and record that it was done.

    Args:
        given: what `wiring` picks.
        baseline: metrics that were recorded before, by name (`watch.metric`); none: nothing is compared with them.

    Raises:
        WorldError: scratch folder or report cannot be written; or all passed, and that cannot be recorded.
    """
    tools = given.tools
    with scratch_folder(tools.workspace) as folder, remembering(tools.workspace.cache, tools.key.secret):
        desk = open_desk(given, folder, baseline)
        tapes = folder / "known"
        known = known_answers(tapes)
        tools.progress("checking")
        with ThreadPoolExecutor(1) as beside:  # it waits for processes apart; all else takes as long
            repeating = beside.submit(repeat_last_run, desk)
            calculating = beside.submit(thousand_apart, desk)
            errors = check_errors(desk, known, tapes)
            integrity = check_integrity(desk)
            audit = check_audit(desk)
            kpis = check_kpis(desk, known, tapes, repeating.result)
            side = calculating.result()
        performance = check_performance(desk, repeating.result(), side)  # last: nothing else runs while it measures
        checks = (kpis, integrity, performance, errors, audit)
    report = Report(at=tools.clock.now(), release=desk.release, checks=checks)
    text = json.dumps(report.as_dict(), indent=2, ensure_ascii=False) + "\n"
    _record(given, report, text)
    _write(tools.workspace.root / REPORT, text)
    return report


def _record(given: ValidateTools, report: Report, text: str) -> None:
    """One event; a report that passes must be in the ledger, another is written even where the ledger is broken."""
    payload = {
        "status": report.status.value,
        "release": report.release,
        "checks": {check.name: check.status.value for check in report.checks},
        "report_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    try:
        with given.tools.open_records() as records:
            records.append([NewEvent(action="production.validated", subject=report.release, payload=payload)])
        given.tools.anchor()
    except WorldError:
        if report.status is Status.PASS:
            raise


def _write(path: Path, text: str) -> None:
    """The report, whole or not at all, readable by its owner only."""
    with world(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        sync(path.parent)
