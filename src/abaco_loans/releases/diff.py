"""What changed between two releases, and which KPIs each change can touch.

A change is one of *meaning* (it can change a number) or of *policy*, as the digests of a release have it. Which KPIs
it can touch follows from the columns of the calculation table that it can change, and from the formulas over them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from abaco_loans.kpi.catalogue import CUSTOMER_RANK, Kpi
from abaco_loans.kpi.formula import Formula
from abaco_loans.releases.release import Release
from abaco_loans.tape.calculation import (
    BY_DAYS,
    COLUMNS,
    DIMENSIONS,
    UNPRICED,
    at_risk_sources,
    is_money,
    snapshot_sources,
)
from abaco_loans.tape.definition import Definition

_POLICY_OF_KPI = frozenset({"name", "description", "owner", "departments", "refresh", "source", "thresholds"})
_ARRIVAL = frozenset({"arrives_every_h", "arrives_within_h"})
_POLICY_OF_REST = frozenset({"description", "limit_rows", "limit_amount", "limit_unmeasured", "default_for"}) | _ARRIVAL
# Where something stands is no part of what it says.
_NOT_SAID = frozenset({"where", "source_name"})
_ORDER = "(order)"
# Of a contract: what can neither refuse a row nor change a cell.
_REFUSES_NOTHING = frozenset({"pii", "dimension", "pii_patterns", "version"})
_SEGMENTING = frozenset({"pii", "dimension", "pii_patterns"})
# Of a KPI: what other KPIs that are made of it do not see.
_OWN_ONLY = frozenset({"precision", "unit", "segmented"})

_EVENTS = frozenset({"first_payment_default", "reached_90_balance_usd", "recovered_after_90_usd"})
_LATE = frozenset({*BY_DAYS, "days_past_due"}) | _EVENTS
_HELD = frozenset(
    {
        "total_receivable_usd",
        "outstanding_usd",
        "written_off_usd",
        "opening_outstanding_usd",
        "written_off_in_period_usd",
    }
)
_DAYS_PARAMETERS = frozenset({"cover", "dpd_method", "arrears_tolerance", "grace_days"})


class Part(StrEnum):
    """The part of a release that changed. `OTHER`: the digests differ in what is none of the others.

    `FILE` is a file of policy (gates, expected differences), or of a program; `PROGRAM`, how one is called.
    """

    CONTRACT = "contract"
    MAPPING = "mapping"
    KPI = "kpi"
    DEFINITION = "definition"
    FILE = "file"
    PROGRAM = "program"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs.

    Attributes:
        name: of the contract's layout, the mapping, the KPI or the definition.
        path: where in it; empty where the whole of it was added or removed.
        before: what it was; None where it was not there.
        after: what it is; None where it is no more.
        meaning: whether it can change a number; else it is policy.
        kpis: those whose value (for policy: whose text or status) it can touch.
        rows: it may also change which rows are accepted, and with them every KPI of the layout.
    """

    part: Part
    name: str
    path: tuple[str, ...]
    before: str | None
    after: str | None
    meaning: bool
    kpis: tuple[str, ...] = ()
    rows: bool = False

    @property
    def amendment(self) -> bool:
        """Whether a release that has run may take it: policy, or a mapping for a source that was not there before."""
        return not self.meaning or (self.part is Part.MAPPING and not self.path and self.before is None)

    @property
    def words(self) -> str:
        """``definition investor: dust_share 0.01 → 0``."""
        what = f"{self.part.value} {self.name}"
        if not self.path:
            return f"{what} {'changed' if self.before and self.after else 'added' if self.after else 'removed'}"
        return f"{what}: {'.'.join(self.path)} {self.before or 'nothing'} → {self.after or 'nothing'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDiff:
    """All changes from one release to another. ``any_kpi``: a program is involved, and any KPI can change."""

    baseline: str
    candidate: str
    changes: tuple[Change, ...]
    any_kpi: bool = False

    @property
    def meaning(self) -> tuple[Change, ...]:
        """The changes that can change a number."""
        return tuple(change for change in self.changes if change.meaning)

    @property
    def policy(self) -> tuple[Change, ...]:
        """The changes that cannot."""
        return tuple(change for change in self.changes if not change.meaning)

    @property
    def kpis(self) -> tuple[str, ...]:
        """Every KPI that a change of meaning can touch."""
        return tuple(sorted({kpi for change in self.meaning for kpi in change.kpis}))


Texts = MappingType[str, str]


def release_diff(
    baseline: Release, candidate: Release, texts: tuple[Texts, Texts] = (MappingProxyType({}), MappingProxyType({}))
) -> ReleaseDiff:
    """What changed from ``baseline`` to ``candidate``: contracts, mappings, definitions, KPIs, files of policy.

    Args:
        baseline: the one.
        candidate: the other.
        texts: the files of policy (file → text) of each.
    """
    book = _Book(baseline, candidate)
    changes = [*_contracts(book), *_mappings(book), *_definitions(book), *_kpis(book), *changed_files(*texts)]
    for meaning, same in (
        (True, baseline.meaning_digest == candidate.meaning_digest),
        (False, baseline.policy_digest == candidate.policy_digest),
    ):
        if not same and not any(change.meaning is meaning for change in changes):
            touched = book.all_kpis() if meaning else ()
            name = "meaning" if meaning else "policy"
            changes.append(
                Change(
                    part=Part.OTHER, name=name, path=(), before="one", after="another", meaning=meaning, kpis=touched
                )
            )
    return ReleaseDiff(baseline=baseline.name, candidate=candidate.name, changes=tuple(changes))


def changed_files(before: MappingType[str, str | bytes], after: MappingType[str, str | bytes]) -> Iterator[Change]:
    """Files that were added, removed or changed; texts are policy, bytes are a program's and can change any KPI."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield Change(
                part=Part.FILE,
                name=name,
                path=(),
                before=_sha256(old),
                after=_sha256(new),
                meaning=isinstance(new if old is None else old, bytes),
            )


def _sha256(data: str | bytes | None) -> str | None:
    if data is None:
        return None
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


class _Book:
    """Both releases, and which of their KPIs stand on a column."""

    def __init__(self, baseline: Release, candidate: Release) -> None:
        self.baseline, self.candidate = baseline, candidate
        self.kpis: list[Kpi] = [*baseline.catalogue.kpis, *candidate.catalogue.kpis]

    def all_kpis(self) -> tuple[str, ...]:
        """Every KPI of either release."""
        return tuple(sorted({kpi.id for kpi in self.kpis}))

    def over(self, columns: Iterable[str]) -> tuple[str, ...]:
        """The KPIs that read one of the columns, and those made of them."""
        wanted = set(columns)
        if "outstanding_usd" in wanted:
            wanted.add(CUSTOMER_RANK)
        if UNPRICED in wanted:
            wanted |= {name for name in COLUMNS if is_money(name)}
        return self.made_of({kpi.id for kpi in self.kpis if wanted & set(kpi.formula.columns)})

    def made_of(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The KPIs, and those whose formulas name them, however far."""
        found = set(ids)
        while True:
            more = {kpi.id for kpi in self.kpis if found & set(kpi.formula.kpis)} - found
            if not more:
                return tuple(sorted(found))
            found |= more

    def segmented(self) -> tuple[str, ...]:
        """The KPIs that are shown by segment."""
        return tuple(sorted({kpi.id for kpi in self.kpis if kpi.segmented}))

    def fed_by(self, layout: str, column: str | None) -> tuple[str, ...]:
        """The KPIs that a column of a tape can reach; None: any column of it."""
        if column is None or layout == "servicing":
            return self.over(COLUMNS)
        if layout == "bucketed":
            return self.over({column})
        reached = {column} & {"loan_id", "customer_id", *DIMENSIONS}
        for definition in [*self.baseline.definitions.values(), *self.candidate.definitions.values()]:
            reached |= {name for name, made_of in snapshot_sources(definition).items() if column in made_of}
            if column in at_risk_sources(definition):
                reached |= set(BY_DAYS)
        return self.over(reached)


def _contracts(book: _Book) -> Iterator[Change]:
    before, after = (_tree(release.contracts) for release in (book.baseline, book.candidate))
    for layout, path, old, new in _named(before, after):
        meaning = not path or path[-1] not in _POLICY_OF_REST
        column = path[3] if path[:1] == ("tables",) and path[2:3] == ("columns",) and len(path) > 3 else None
        quiet = bool(path) and (path[-1] in _REFUSES_NOTHING or _only_warns(book, layout, path))
        kpis: tuple[str, ...] = ()
        if meaning and path and path[-1] in _SEGMENTING:
            kpis = book.segmented()
        elif meaning and not quiet:
            kpis = book.fed_by(layout, column)
        yield Change(
            part=Part.CONTRACT,
            name=layout,
            path=path,
            before=old,
            after=new,
            meaning=meaning,
            kpis=kpis,
            rows=meaning and not quiet,
        )


def _only_warns(book: _Book, layout: str, path: tuple[str, ...]) -> bool:
    """Whether a path leads into a rule that refuses no row, before or after."""
    if path[:1] != ("tables",) or path[2:3] != ("rules",) or len(path) < 4:
        return False
    rules = [
        rule
        for release in (book.baseline, book.candidate)
        for table in release.contracts[layout].tables
        if table.name == path[1]
        for rule in table.rules
        if rule.code == path[3].split("#")[0]
    ]
    return bool(rules) and all(rule.severity.value == "warning" for rule in rules)


def _mappings(book: _Book) -> Iterator[Change]:
    sides = [{item.name: item for item in release.mappings} for release in (book.baseline, book.candidate)]
    layouts = {item.name: item.layout for side in sides for item in side.values()}
    for name, path, old, new in _named(_tree(sides[0]), _tree(sides[1])):
        meaning = not path or path[-1] not in _POLICY_OF_REST
        column = path[3] if path[:1] == ("tables",) and path[2:3] == ("fields",) and len(path) > 3 else None
        # A mapping that is new reads tapes that were not read before; one that is gone leaves them unread.
        touches = meaning and bool(path)
        yield Change(
            part=Part.MAPPING,
            name=name,
            path=path,
            before=old,
            after=new,
            meaning=meaning,
            kpis=book.fed_by(layouts[name], column) if touches else (),
            rows=touches,
        )


def _definitions(book: _Book) -> Iterator[Change]:
    olds, news = book.baseline.definitions, book.candidate.definitions
    for name, path, old, new in _named(_tree(olds), _tree(news)):
        columns: frozenset[str] = frozenset()
        if path and path[-1] == "default_for":
            columns = _columns_of_defaults(olds, news)
        elif path:
            columns = columns_of(path[0], olds[name], news[name])
        yield Change(
            part=Part.DEFINITION,
            name=name,
            path=path,
            before=old,
            after=new,
            meaning=not path or path[-1] not in _POLICY_OF_REST,
            kpis=book.over(columns),
        )


def columns_of(parameter: str, first: Definition, second: Definition) -> frozenset[str]:
    """The columns of the calculation table that a parameter can change between two definitions."""
    writes_off = first.write_off_after_days is not None or second.write_off_after_days is not None
    if parameter in _DAYS_PARAMETERS:
        return _LATE | _HELD if writes_off else _LATE
    if parameter == "boundary":
        return _LATE
    if parameter == "restructured":
        return frozenset(BY_DAYS)
    if parameter in ("dust_share", "write_off_after_days", "write_off"):
        return _LATE | _HELD
    return frozenset()  # its name, version, texts, and the edges of buckets that no KPI reads


def _columns_of_defaults(olds: MappingType[str, Definition], news: MappingType[str, Definition]) -> frozenset[str]:
    """What changes where a layout has another definition by default."""
    found: frozenset[str] = frozenset()
    for layout in ("bucketed", "snapshot", "servicing"):
        first, second = (
            next((item for item in side.values() if layout in item.default_for), None) for side in (olds, news)
        )
        if first is None or second is None:
            continue
        for field in fields(Definition):
            if getattr(first, field.name) != getattr(second, field.name):
                found |= columns_of(field.name, first, second)
    return found


def _kpis(book: _Book) -> Iterator[Change]:
    sides = [{kpi.id: kpi for kpi in release.catalogue.kpis} for release in (book.baseline, book.candidate)]
    for name, path, old, new in _named(_tree(sides[0]), _tree(sides[1])):
        meaning = not path or path[0] not in _POLICY_OF_KPI
        alone = bool(path) and (not meaning or path[0] in _OWN_ONLY)
        yield Change(
            part=Part.KPI,
            name=name,
            path=path,
            before=old,
            after=new,
            meaning=meaning,
            kpis=(name,) if alone else book.made_of({name}),
        )


Tree = dict[str, Any]
Found = tuple[str, tuple[str, ...], str | None, str | None]


def _named(before: Tree, after: Tree) -> Iterator[Found]:
    """Name, path, and what stands there before and after, wherever two trees differ."""
    for path, old, new in _differences(before, after, ()):
        yield path[0], path[1:], old, new


def _differences(
    before: Tree, after: Tree, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str | None, str | None]]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if name == _ORDER and before.keys() != after.keys():
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, (*path, name))
        elif old != new:
            yield (*path, name), _shown(old), _shown(new)


def _shown(item: Any) -> str | None:
    return "there" if isinstance(item, dict) else item


def _tree(item: Any) -> Any:
    """Dataclasses as nested dictionaries of texts; parts that have a name stand under it. None is left out."""
    if isinstance(item, Formula):
        return str(item.tree.sql(dialect="duckdb", normalize_functions="lower"))
    if isinstance(item, MappingType):
        return {str(key): _tree(value) for key, value in item.items()}
    if isinstance(item, tuple) and item and is_dataclass(item[0]):
        return _by_name(item)
    if is_dataclass(item):
        told = {field.name: _tree(getattr(item, field.name)) for field in fields(item) if field.name not in _NOT_SAID}
        return {name: value for name, value in told.items() if value is not None}
    if isinstance(item, tuple):
        return ", ".join(map(str, item)) or None
    if isinstance(item, Decimal):
        return format(item.normalize(), "f")
    return None if item is None else str(item)


def _by_name(items: tuple[Any, ...]) -> Tree:
    found: Tree = {}
    for item in items:
        name = str(next(getattr(item, key) for key in ("code", "table", "name") if hasattr(item, key)))
        again = sum(other.split("#")[0] == name for other in found)
        found[f"{name}#{again + 1}" if again else name] = _tree(item)
    if not hasattr(items[0], "table"):  # the order in which a mapping's tables stand says nothing
        found[_ORDER] = ", ".join(found)
    return found
