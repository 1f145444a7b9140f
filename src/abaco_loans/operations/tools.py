"""What operations are given: the workspace, a clock, and ways to open engine and records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from abaco_loans.clock import Clock
from abaco_loans.engines.base import Engine
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.ledger import Event, NewEvent
from abaco_loans.records.runs import RunReader, RunWriter
from abaco_loans.tape.masking import MaskingKey

Progress = Callable[[str], None]


class Records(Protocol):
    """What a run needs of the records."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    def append(self, events: Sequence[NewEvent]) -> Sequence[Event]:
        """Append events that belong to no run."""
        ...

    @property
    def writer(self) -> RunWriter:
        """Moves runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What `wiring` picks for a run. ``open_engine`` takes the scratch folder and the folders to write to."""

    workspace: Workspace
    clock: Clock
    key: MaskingKey
    engine_version: str
    open_engine: Callable[[Path, list[Path]], Engine]
    open_records: Callable[[], AbstractContextManager[Records]]
    anchor: Callable[[], None]
    who: str
    progress: Progress = field(default=lambda text: None)
