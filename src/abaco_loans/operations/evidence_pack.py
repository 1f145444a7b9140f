"""The evidence pack: one file with which an auditor checks on another machine, with Python alone, what was done.

It holds the ledger with its anchors, the manifests of runs, reports, release files, settings, the script that checks it
and a list of the SHA-256 of everything, signed with the key of the anchors. It holds no tape, no loan row, no refused
value, no key and no password. Same state, same bytes: nothing in it says when it was made.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from abaco_loans.errors import AbacoError, WorldError
from abaco_loans.operations.carry_out import cutover_record
from abaco_loans.operations.prove_no_loss import REPORTS
from abaco_loans.operations.release_files import read_text, read_texts
from abaco_loans.operations.run_command import read_program
from abaco_loans.operations.run_shadow import read_report
from abaco_loans.operations.shadow_history import history_document
from abaco_loans.operations.validate_production import REPORT as VALIDATION_REPORT
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world, write_whole
from abaco_loans.outputs.shadow_page import shadow_page
from abaco_loans.records.anchors import AnchorSet, export_lines, read_anchors, signature_of
from abaco_loans.records.cutovers import CutoverReader
from abaco_loans.records.ledger import GENESIS, Event
from abaco_loans.records.runs import RunReader
from abaco_loans.records.shadows import ShadowReader, ShadowRecord
from abaco_loans.releases.command import OWN_FILES

FORMAT, VERSION = "abaco-evidence-pack", 1
LIST, SIGNATURE, LEDGER, README, VERIFIER = (
    "MANIFEST.json", "SIGNATURE.json", "ledger.jsonl", "README.md", "verify_audit.py",
)  # fmt: skip
_ALL = 2**31 - 1
_REPORT_KINDS = frozenset({".json", ".md", ".html", ".pdf"})
# Settings so named are addresses and places, which may hold a password or lead to a key.
_NOT_SHOWN = ("_url", "_file")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = "for the evidence pack, loans, segments, notes and the words of errors were left out of this report"
_README = """\
# Evidence pack

Check it on a machine of your own, with Python 3.11 or later and nothing else. The script is in the pack; better, take
it from the source of the product, for who could change the pack could change the script in it:

    unzip -p PACK.zip verify_audit.py > verify_audit.py
    python3 -I verify_audit.py PACK.zip --key KEY

KEY is the public key of the anchors (64 hexadecimal digits), as you were given it apart from this pack. Without it you
learn that the pack agrees with itself, not who made it.

Exit code 0: it holds; lines that begin with NOT CHECKED say what the script did not check. 1: it does not; each line
says which file or event, and what was done. 2: it could not be checked.

| file | holds |
|---|---|
| `MANIFEST.json` | the SHA-256 of every file, what the pack is about, and what is missing from it and why |
| `SIGNATURE.json` | the Ed25519 signature over the SHA-256 of that list; absent where the key was not at hand |
| `ledger.jsonl` | every event of the audit ledger, always all of them, and the anchors: signed notes of its length |
| `runs/RUN/manifest.json` | what a run read, with which release, and the SHA-256 of what it published |
| `shadow/ID/report.json` `.html` | two releases compared; loans, segments and the words of errors were left out |
| `reports/` | of cutovers and rollbacks: summary, incident report, and what was written for people |
| `production_validation_report.json` | the five checks, as they were made last |
| `releases/NAME/` | the files of a release as they are now |
| `settings.json` | the settings in force, without where the records and the masking key are |

It holds no tape, no loan row, no value that was refused, no key and no password. The ledger names who did what, and the
file names of tapes; it is whole, as a ledger with gaps proves nothing.
"""


class Records(Protocol):
    """What the pack is made from."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    @property
    def shadow_reader(self) -> ShadowReader:
        """Reads shadow runs."""
        ...

    @property
    def cutover_reader(self) -> CutoverReader:
        """Reads cutovers."""
        ...

    def events(self, *, after_seq: int = 0) -> Iterator[Event]:
        """The ledger's events in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a pack is about; nothing: everything. The ledger is always whole.

    Attributes:
        cutover_id: the runs and shadow runs of its two releases, and its reports.
        since: what ended on this day (UTC) or later.
    """

    cutover_id: str = ""
    since: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A pack that was written.

    Attributes:
        left_out: what should be in it and is not, and why.
    """

    path: Path
    sha256: str
    files: int
    events: int
    anchors: int
    signed: bool
    left_out: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "path": str(self.path), "left_out": dict(self.left_out)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pile:
    """What was gathered: path in the pack → content; and what could not be."""

    files: dict[str, bytes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add_file(self, name: str, path: Path) -> None:
        """A plain file of the workspace."""
        try:
            if path.is_symlink() or not path.is_file():
                self.left_out[name] = "it is gone"
                return
            self.files[name] = path.read_bytes()
        except OSError as error:
            self.left_out[name] = f"it cannot be read: {error.strerror}"


def write_pack(records: Records, workspace: Workspace, out: Path, scope: Scope) -> Packed:
    """Write the evidence pack of a workspace; a file that is there is replaced, whole or not at all.

    Raises:
        UsageError: ``CUT-105`` there is no such cutover.
        WorldError: ``OUT-1xx`` it cannot be written; ``REC-105`` what is stored is not what was written; ``REC-112`` a
            key or anchor cannot be used.
    """
    pile = _Pile()
    anchors = read_anchors(workspace.anchors)  # before the events, else one may speak of an event that was not read
    releases, reports = _about(records, workspace, scope)
    _add_runs(pile, records.reader, workspace, scope, releases)
    _add_shadows(pile, records.shadow_reader, workspace, scope, releases)
    _add_reports(pile, workspace, reports)
    for name in sorted(releases):
        _add_release(pile, workspace, name)
    shown = {name: value for name, value in asdict(workspace.settings).items() if not name.endswith(_NOT_SHOWN)}
    pile.files["settings.json"] = _json(shown)
    pile.files[README] = _README.encode()
    pile.files[VERIFIER] = (files("abaco_loans") / "builtin" / f"{VERIFIER}.txt").read_bytes()
    events = tuple(records.events())  # last: what was gathered before, they tell of
    pile.files[LEDGER] = "".join(export_lines(events, anchors)).encode()
    signed = _seal(pile, workspace, anchors, events, scope)
    data = _zipped(pile.files)
    with world(out):
        write_whole(out, data)
    return Packed(
        path=out,
        sha256=hashlib.sha256(data).hexdigest(),
        files=len(pile.files),
        events=len(events),
        anchors=len(anchors.anchors),
        signed=signed,
        left_out=pile.left_out,
    )


def _about(records: Records, workspace: Workspace, scope: Scope) -> tuple[frozenset[str], frozenset[str]]:
    """Releases, and cutovers and rollbacks, that the pack is about."""
    if scope.cutover_id:
        record = cutover_record(scope.cutover_id, records.cutover_reader)
        return frozenset({record.from_release, record.to_release}) - {""}, frozenset({record.cutover_id})
    found = records.cutover_reader.list(_ALL)
    ids = (item.cutover_id for item in found if _in_time(item.finished_at or item.created_at, scope))
    return frozenset(workspace.release_names()), frozenset(ids)


def _in_time(ended: datetime | None, scope: Scope) -> bool:
    return scope.since is None or (ended is not None and ended.astimezone(UTC).date() >= scope.since)


def _add_runs(pile: _Pile, reader: RunReader, workspace: Workspace, scope: Scope, releases: frozenset[str]) -> None:
    """The manifests of finished runs, as they are, also when they are no longer what was published."""
    for run in reader.list(_ALL):
        wanted = _in_time(run.finished_at, scope) and (not scope.cutover_id or run.release in releases)
        if wanted and run.status == "finished" and run.output_folder:
            place = workspace.outputs / run.output_folder / "manifest.json"
            pile.add_file(f"runs/{run.run_id}/manifest.json", place)


def _add_shadows(
    pile: _Pile, reader: ShadowReader, workspace: Workspace, scope: Scope, releases: frozenset[str]
) -> None:
    """The reports of shadow runs without what names a loan, for programs and for people."""
    for item in reader.list(_ALL):
        wanted = _in_time(item.finished_at, scope) and (
            not scope.cutover_id or {item.baseline, item.candidate} <= releases
        )
        if not wanted or item.status != "finished":
            continue
        folder = f"shadow/{item.shadow_id}"
        try:
            document = without_loans(read_report(workspace, item), item)
        except (AbacoError, ValueError) as error:
            pile.left_out[f"{folder}/report.json"] = getattr(error, "code", "it is no JSON")
            continue
        pile.files[f"{folder}/report.json"] = _json(document)
        try:
            page = shadow_page(document, history_document(reader, candidate=item.candidate))
        except WorldError as error:
            pile.left_out[f"{folder}/report.html"] = error.code
            continue
        pile.files[f"{folder}/report.html"] = page.encode()


def without_loans(document: Mapping[str, Any], record: ShadowRecord) -> dict[str, Any]:
    """A shadow report without loans, segments (of one customer, perhaps) and the words of errors (of a program)."""
    bridge = {
        kpi: {**found, "parts": [{**part, "top": []} for part in found["parts"]]}
        for kpi, found in document["bridge"].items()
    }
    loans = document["loans"] and {
        **document["loans"],
        "columns": [{**column, "largest_loan": None} for column in document["loans"]["columns"]],
    }
    ran = all(run["error"] is None for side in ("baseline", "candidate") for run in document[side]["runs"])
    reasons = (reason for reason in document["reasons"] if not reason["segment"])
    return {
        **document,
        **{side: _without_words(document[side]) for side in ("baseline", "candidate")},
        # Where a side did not run, the reason is in the words of its error.
        "reasons": [reason if ran or reason["kpi"] else {**reason, "words": ""} for reason in reasons],
        "segments": {**document["segments"], "cells": []},
        "bridge": bridge,
        "loans": loans,
        "notes": [_LEFT_OUT],
        "full_report_sha256": record.report_sha256,
    }


def _without_words(side: Mapping[str, Any]) -> dict[str, Any]:
    runs = [
        {**run, "error": run["error"] and {"code": run["error"]["code"], "what": "", "where": "", "hint": ""}}
        for run in side["runs"]
    ]
    return {**side, "runs": runs}


def _add_reports(pile: _Pile, workspace: Workspace, ids: frozenset[str]) -> None:
    """The reports of cutovers and rollbacks, from the folders that are theirs; and that of the validation."""
    for folder in sorted(f"{kind}-{name}" for kind in ("cutover", "rollback") for name in ids):
        place = workspace.root / REPORTS / folder
        for path in sorted(place.glob("[!.]*")) if place.is_dir() and not place.is_symlink() else ():
            if path.suffix in _REPORT_KINDS and path.name.isprintable():
                pile.add_file(f"{REPORTS}/{folder}/{path.name}", path)
    if (workspace.root / VALIDATION_REPORT).exists():
        pile.add_file(VALIDATION_REPORT, workspace.root / VALIDATION_REPORT)


def _add_release(pile: _Pile, workspace: Workspace, name: str) -> None:
    """The files that make a release, as they are now; nothing hidden, and nothing that only lies beside them."""
    folder = workspace.root / "releases" / name
    if not folder.is_dir():
        pile.left_out[f"releases/{name}"] = "it is gone"
        return
    try:
        if workspace.release_kind(name) == "catalogue":
            found = {path: text.encode() for path, text in read_texts(folder).items()}
        else:
            own = {path: text.encode() for path in OWN_FILES if (text := read_text(folder, path)) is not None}
            found = read_program(folder) | own
    except AbacoError as error:
        pile.left_out[f"releases/{name}"] = error.code
        return
    pile.files.update({f"releases/{name}/{path}": data for path, data in found.items()})


def _seal(pile: _Pile, workspace: Workspace, anchors: AnchorSet, events: tuple[Event, ...], scope: Scope) -> bool:
    """Add the list of all files and, where the anchors' key is here, its signature."""
    said = {
        "format": FORMAT,
        "version": VERSION,
        "scope": {"cutover": scope.cutover_id, "since": scope.since.isoformat() if scope.since else ""},
        "ledger": {
            "events": len(events),
            "anchors": len(anchors.anchors),
            "head": events[-1].hash if events else GENESIS,
        },
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(pile.files.items())},
        "left_out": pile.left_out,
    }
    pile.files[LIST] = _json(said)
    message = {"format": FORMAT, "manifest_sha256": hashlib.sha256(pile.files[LIST]).hexdigest()}
    signature = signature_of(message, workspace.ledger_key, anchors.public_key)
    if signature:
        pile.files[SIGNATURE] = _json({**message, "public_key": anchors.public_key, "signature": signature})
    return bool(signature)


def _zipped(content: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        for name, data in _in_order(content.items()):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            pack.writestr(info, data)
    return out.getvalue()


def _in_order(items: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """What is read first stands first."""
    first = (README, LIST, SIGNATURE, VERIFIER, LEDGER)
    return sorted(items, key=lambda item: (first.index(item[0]) if item[0] in first else len(first), item[0]))


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
