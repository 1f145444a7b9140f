"""Production when no cutover is watched any more: validated once a day, for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

from abaco_loans.operations.watch_checkpoint import WatchRecords, WatchTools
from abaco_loans.watch.check import Report

EVERY = timedelta(days=1)


def validate_daily(tools: WatchTools, records: WatchRecords) -> Report | None:
    """Validate production when a day has passed since it last was. None: it is not due, or nothing ever ran.

    Raises:
        AbacoError: production could not be validated.
    """
    active = records.production_reader.pointer().active
    if not active or records.reader.latest_finished() is None:
        return None
    last = [
        datetime.fromisoformat(event.recorded_at)
        for event in records.events()
        if event.action == "production.validated" and event.subject == active
    ]
    # A clock that was set back makes nothing wait for longer than a day.
    if last and abs(tools.clock.now() - last[-1]) < EVERY:
        return None
    return tools.validate(active, {})
