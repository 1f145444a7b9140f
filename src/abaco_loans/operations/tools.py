"""What operations are given: the workspace, a clock, and ways to open engine and records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from abaco_loans.clock import Clock
from abaco_loans.engines.base import Engine
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.ledger import Event, NewEvent
from abaco_loans.records.runs import RunReader, RunRecord, RunWriter
from abaco_loans.tape.masking import MaskingKey

if TYPE_CHECKING:
    from abaco_loans.records.cutovers import CutoverReader, CutoverWriter
    from abaco_loans.records.production import ProductionReader, ProductionWriter
    from abaco_loans.records.shadows import ShadowReader, ShadowWriter

Progress = Callable[[str], None]
Follow = Callable[[RunRecord], None]


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

    @property
    def production_reader(self) -> ProductionReader:
        """Reads the queue and the pointer."""
        ...

    @property
    def production_writer(self) -> ProductionWriter:
        """Moves jobs and the pointer."""
        ...

    @property
    def cutover_reader(self) -> CutoverReader:
        """Reads plans, approvals and journals."""
        ...

    @property
    def cutover_writer(self) -> CutoverWriter:
        """Records plans, approvals and journals."""
        ...

    @property
    def shadow_reader(self) -> ShadowReader:
        """Reads shadow runs and seals of gates."""
        ...

    @property
    def shadow_writer(self) -> ShadowWriter:
        """Moves shadow runs, seals gates."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What `wiring` picks for a run. ``open_engine`` takes the scratch folder and the folders to write to; ``follow``
    hears of a run that started or ended, after it was recorded, and never fails."""

    workspace: Workspace
    clock: Clock
    key: MaskingKey
    engine_version: str
    open_engine: Callable[[Path, list[Path]], Engine]
    open_records: Callable[[], AbstractContextManager[Records]]
    anchor: Callable[[], None]
    who: str
    progress: Progress = field(default=lambda text: None)
    follow: Follow = field(default=lambda record: None)
