"""A desk with a queue: tapes of a few rows, an inbox, workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.operations.submit_tape import Submitted, submit_tape
from abaco_loans.operations.take_inbox import InboxLook, take_inbox
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.work_queue import StartDark, Worker, run_release
from abaco_loans.records.production import Job, Pointer, Served
from abaco_loans.records.runs import RunRecord
from abaco_loans.records.store import Store, open_store
from abaco_loans.wiring import run_tools
from tests.operations.desk import Desk, bucketed_row, write_csv


class QueueDesk(Desk):
    """One workspace, its inbox and its queue."""

    @property
    def inbox(self) -> Path:
        """The folder that senders write to."""
        folder = self.workspace.root / "inbox"
        folder.mkdir(exist_ok=True)
        return folder

    def tape(self, name: str = "tape.csv", *, amount: int = 1000, folder: Path | None = None) -> Path:
        """A tape of two rows; another amount is another tape."""
        rows = [bucketed_row("A", amount, eligible=amount, b0=amount), bucketed_row("B", "50", b30="50")]
        return write_csv((folder or self.workspace.root.parent) / name, rows)

    def extract(self, name: str = "extract", *, folder: Path | None = None) -> Path:
        """A folder that is given as a tape; what is in it matters to nobody here."""
        place = (folder or self.workspace.root.parent) / name
        place.mkdir()
        for item in ("loans", "schedules", "transactions"):
            (place / f"{item}.csv").write_text(f"loan_id\n{item}\n", encoding="utf-8")
        return place

    def submit(self, tape: Path, as_of: date | None = None) -> Submitted:
        """Submit a tape."""
        with self.records() as records:
            return submit_tape(self.workspace, tape, records, as_of=as_of, clock=self.clock, who="a test")

    def look(self) -> InboxLook:
        """Look at the inbox once."""
        return take_inbox(self.workspace, self.records, clock=self.clock, who="a test")

    def records(self) -> Store:
        """The records, to be used as a context manager."""
        return open_store(self.workspace.records_url, clock=self.clock, actor="ana")

    def worker(
        self,
        owner: str = "w1",
        *,
        start_dark: StartDark | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Worker:
        """A worker in this process; `meanwhile` happens between a run and the recording of its result, once."""
        waiting = [meanwhile]

        def run(request: RunRequest, tools: Tools) -> RunRecord:
            found = run_release(request, tools, self.environment)
            if waiting:
                waiting.pop()()
            return found

        return Worker(
            tools=run_tools(self.workspace, self.environment, lambda text: None, self.clock),
            open_production=self.records,
            owner=owner,
            run=run,
            start_dark=start_dark,
            tell=self.said.append,
            rest_s=0.01,
        )

    def jobs(self) -> tuple[Job, ...]:
        """All jobs, the one that changed last first."""
        with self.records() as records:
            return records.production_reader.jobs(limit=1000)

    def served(self, job_id: str) -> tuple[Served, ...]:
        """All results of a job."""
        with self.records() as records:
            return records.production_reader.served(job_id)

    def pointer(self) -> Pointer:
        """The pointer."""
        with self.records() as records:
            return records.production_reader.pointer()

    def actions(self) -> Sequence[str]:
        """What the ledger says of production, in order; ledger and rows are checked too."""
        with self.records() as records:
            assert records.verify().ok
            assert records.faults() == ()
            return [item.action for item in records.events() if item.action.split(".")[0] in ("job", "pointer")]

    def copies(self) -> list[str]:
        """Every file in the queue, relative to it."""
        queue = self.workspace.root / "queue"
        return sorted(path.relative_to(queue).as_posix() for path in queue.rglob("*") if path.is_file())
