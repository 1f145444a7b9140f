"""The standing shadow: after a run of the active release, the one whose role is shadow runs on the same tape.

It is started when the run is published and recorded, in a session of its own and at a lower priority, so that it can
neither delay the run nor outlive its claim on the machine; what it says goes into a log file, what it finds into the
records.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world

_NICE = 10


def start_shadow(
    workspace: Workspace,
    tape: Path,
    *,
    as_of: date,
    definition: str | None,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> Path | None:
    """Start the standing shadow on a tape; the log that it writes, or None where no release has the role.

    Raises:
        WorldError: ``OUT-1xx`` the log cannot be made.
    """
    begun = shadow_process(
        workspace, tape, as_of=as_of, definition=definition, command=command, environment=environment
    )
    return begun[1] if begun else None


def shadow_process(
    workspace: Workspace,
    tape: Path,
    *,
    as_of: date,
    definition: str | None,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> tuple[subprocess.Popen[bytes], Path] | None:
    """As `start_shadow`, with the process, for who waits for its end.

    Args:
        command: how `abaco` is started.

    Raises:
        WorldError: ``OUT-1xx`` the log cannot be made.
    """
    name = workspace.settings.shadow
    if not name or name == workspace.settings.release:
        return None
    logs = workspace.root / "logs"
    with world(logs):
        logs.mkdir(mode=0o700, exist_ok=True)
        log = logs / f"shadow_{name}.log"
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pair = ["--baseline", workspace.settings.release, "--candidate", name]
    asked = [str(tape.resolve()), *pair, "--as-of", as_of.isoformat(), "-w", str(workspace.root)]
    if definition:
        asked += ["--definition", definition]
    try:
        started = subprocess.Popen(
            [*command, "shadow", *asked],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env=dict(environment),
        )
    finally:
        os.close(stream)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, started.pid, _NICE)
    return started, log
