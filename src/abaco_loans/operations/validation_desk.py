"""What the checks of production work with: the last run, and a trial workspace that production never sees.

The trial workspace lies in a private scratch folder. It has the releases, the settings and the masking key of this
workspace, what the workspace remembers (`private_cache`), and records of its own: tapes go through the very pipeline
of production, and nothing of it is published or recorded here.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from abaco_loans.errors import AbacoError, WorldError
from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.run_release import run_release
from abaco_loans.operations.run_side import Worker
from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.verify_audit import Ledger
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world
from abaco_loans.records.ledger import Event
from abaco_loans.records.runs import PANEL_PREFIX, RunReader, RunRecord
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.releases.release import Release
from abaco_loans.watch.check import Status, SubCheck
from abaco_loans.watch.metric import Metric, judged

KNOWN_ANSWERS = "known_answers"
_LAST_RUNS, _RUNS_LOOKED_THROUGH = 5, 200


class Trail(Ledger, Protocol):
    """The ledger with its events, and the runs that it speaks of."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    def events(self) -> Iterable[Event]:
        """All events in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateTools:
    """What `wiring` picks for a validation.

    Attributes:
        tools: of the workspace that is validated.
        tools_for: the same for another workspace.
        open_trail: the records of a workspace, with its ledger.
        worker: how a calculation apart is started.
        stopwatch: seconds from any beginning.
    """

    tools: Tools
    tools_for: Callable[[Workspace], Tools]
    open_trail: Callable[[Workspace], AbstractContextManager[Trail]]
    worker: Worker
    stopwatch: Callable[[], float] = time.perf_counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One validation at work.

    Attributes:
        release: name of the release that is validated.
        last: the run that finished last; None where there is none, or ``unread`` says why it cannot be read.
        last_runs: up to five runs of the release, of the layout of the last of them, which is the first here; or why
            they cannot be read.
        folder: private, for whatever a check needs.
        trial: the trial workspace, ``trial_tools`` for it.
        baseline: metrics that were recorded before, by name.
        releases: those that were read so far.
    """

    given: ValidateTools
    release: str
    last: RunRecord | None
    unread: AbacoError | None
    folder: Path
    trial: Workspace
    trial_tools: Tools
    last_runs: tuple[RunRecord, ...] | AbacoError = ()
    baseline: Mapping[str, Decimal] = field(default_factory=dict)
    releases: dict[str, Release | CommandRelease] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        """The workspace that is validated."""
        return self.given.tools.workspace

    def release_of(self, name: str) -> Release | CommandRelease:
        """A release of the workspace, read once.

        Raises:
            ConfigError: ``REL-103`` there is no such release; or what a file of it says wrong.
        """
        if name not in self.releases:
            self.releases[name] = self.workspace.any_release(name)
        return self.releases[name]

    def try_tape(self, tape: Path, as_of: date | None = None) -> dict[str, Any]:
        """Run a tape under the release in the trial workspace; the ``kpis`` of what it published there.

        Raises:
            AbacoError: whatever a run raises.
        """
        request = RunRequest(path=tape, as_of=as_of, release=self.release)
        record = run_release(request, self.trial_tools, self.given.worker.environment)
        folder = sound_folder(self.trial, record)
        found: dict[str, Any] = json.loads((folder / "kpis.json").read_text(encoding="utf-8"))["kpis"]
        return found

    def on_last_run(self, name: str, look: Callable[[RunRecord], SubCheck]) -> SubCheck:
        """What a look at the last run finds; not applicable where there was none yet."""
        if self.unread is not None:
            return unknown(name, self.unread)
        last = self.last
        if last is None:
            return SubCheck(name=name, status=Status.NOT_APPLICABLE, words="there is no run yet")
        return looked_at(name, lambda: look(last))


def looked_at(name: str, look: Callable[[], SubCheck]) -> SubCheck:
    """What a look finds; where the look itself fails, nothing is known."""
    try:
        return look()
    except AbacoError as error:
        return unknown(name, error)


def unknown(name: str, error: AbacoError) -> SubCheck:
    """A part that could not be looked at."""
    words = f"could not be looked at: {error.what} ({error.code})"
    return SubCheck(name=name, status=Status.UNKNOWN, words=words, evidence={"error": error.as_dict()})


def measured(
    name: str, metric: Metric, value: Decimal, baseline: Decimal | None = None, **evidence: object
) -> SubCheck:
    """A metric with its verdict."""
    found = judged(metric, value, baseline)
    return SubCheck(name=name, status=found.status, words=found.words, metrics={metric.name: value}, evidence=evidence)


def open_desk(given: ValidateTools, folder: Path, baseline: Mapping[str, Decimal] | None = None) -> Desk:
    """Read the last run and make the trial workspace below a private folder.

    Raises:
        ConfigError: the masking key is wrong.
        WorldError: ``OUT-1xx`` the folder cannot be written.
    """
    workspace = given.tools.workspace
    last, unread = None, None
    try:
        with given.tools.open_records() as records:
            last = records.reader.latest_finished()
    except WorldError as error:
        unread = error
    trial = _trial(workspace, folder)
    return Desk(
        given=given,
        release=workspace.settings.release,
        last=last,
        unread=unread,
        last_runs=_last_runs(given, workspace.settings.release),
        folder=folder,
        trial=trial,
        trial_tools=given.tools_for(trial),
        baseline=baseline or {},
    )


def _last_runs(given: ValidateTools, release: str) -> tuple[RunRecord, ...] | AbacoError:
    """The last runs of a release that finished; no panels, and of one layout, as each takes its own time."""
    try:
        with given.tools.open_records() as records:
            listed = records.reader.list(_RUNS_LOOKED_THROUGH)
    except WorldError as error:
        return error
    found = [
        item
        for item in listed
        if (item.status, item.release) == ("finished", release) and not item.run_id.startswith(PANEL_PREFIX)
    ]
    return tuple(item for item in found if item.layout == found[0].layout)[:_LAST_RUNS]


def _trial(workspace: Workspace, folder: Path) -> Workspace:
    """The trial workspace: same releases, settings and key; own records and outputs."""
    root, settings = folder / "trial", workspace.settings
    with world(root):
        for name in ("keys", "records", "outputs"):
            (root / name).mkdir(mode=0o700, parents=True)
        (root / "releases").symlink_to(workspace.root.resolve() / "releases", target_is_directory=True)
        if workspace.cache.is_dir():
            (root / workspace.cache.name).mkdir(mode=0o700)
            for path in workspace.cache.glob("*.json"):
                shutil.copyfile(path, root / workspace.cache.name / path.name)
    key = str(workspace.root.resolve() / settings.masking_key_file)
    return Workspace(
        root=root, settings=replace(settings, shadow="", records_url="", lineage="off", masking_key_file=key)
    )


def known_answers(folder: Path) -> Mapping[str, Any]:
    """Unpack the tapes of known answers, and those that must be refused, into a folder; what is known of them.

    Returns:
        ``known``: tape, as_of, how, answers (KPI → exact value as text, None: not computable);
        ``refused``: tape, code, what.
    """
    from importlib import resources

    with world(folder):
        folder.mkdir(mode=0o700)
        for item in (resources.files("abaco_loans") / "builtin" / KNOWN_ANSWERS).iterdir():
            (folder / item.name).write_bytes(item.read_bytes())
    found: dict[str, Any] = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return found
