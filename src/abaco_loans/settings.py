"""The settings of a workspace: ``abaco.yml`` and the environment become one frozen object.

Every setting is documented in ``docs/settings.md`` (a test fails on one that is not). An environment variable
``ABACO_<NAME>`` wins over the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.nearest import meant

ENVIRONMENT_PREFIX = "ABACO_"


DESCRIPTIONS = {
    "release": "the active release, until production has one (`abaco worker status`)",
    "shadow": "the release that runs in the dark on every tape beside it; empty: none",
    "rollback": "what a trigger of a rollback does: `propose` tells it, `automatic` rolls production back",
    "reporting_currency": "ISO 4217 code of all `*_usd` columns",
    "memory_mb": "megabytes that the engine may use before it spills to disk",
    "threads": "threads of the engine",
    "records_url": "where runs and the ledger are kept; empty is SQLite in the workspace, `postgresql://...` a server",
    "masking_key_file": "the masking key, relative to the workspace; readable by its owner only",
    "lock_timeout_s": "seconds to wait for another run of the same tape",
    "lineage": "OpenLineage events of runs: `file` appends them to `logs/lineage.ndjson`, `http` sends them; or `off`",
    "inbox_settle_s": "seconds for which a file in the inbox must stay as it is before it is taken for whole",
    "job_lease_s": "seconds after which a job is taken from a worker that gives no sign of life",
    "job_attempts_max": "how often a job is taken that the world (disk, database, a killed worker) keeps from ending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a workspace is set to; each field is described in :data:`DESCRIPTIONS`."""

    release: str = "v2"
    shadow: str = ""
    rollback: str = "propose"
    reporting_currency: str = "USD"
    memory_mb: int = 600
    threads: int = 2
    records_url: str = ""
    masking_key_file: str = "keys/masking.key"
    lock_timeout_s: int = 600
    lineage: str = "off"
    inbox_settle_s: int = 10
    job_lease_s: int = 60
    job_attempts_max: int = 3


# What a value must be: a text of that form, or a whole number in that range.
_TEXT = re.compile(r".*", re.DOTALL)
_RULES: Mapping[str, re.Pattern[str] | range] = {
    "release": re.compile(r"[a-z][a-z0-9_.-]{0,62}"),
    "shadow": re.compile(r"([a-z][a-z0-9_.-]{0,62})?"),
    "rollback": re.compile(r"propose|automatic"),
    "reporting_currency": re.compile(r"[A-Z]{3}"),
    "memory_mb": range(200, 1_000_001),
    "threads": range(1, 257),
    "records_url": _TEXT,
    "masking_key_file": _TEXT,
    "lock_timeout_s": range(86_401),
    "lineage": re.compile(r"file|http|off"),
    "inbox_settle_s": range(86_401),
    "job_lease_s": range(1, 3601),
    "job_attempts_max": range(1, 10_001),
}


def read_settings(document: Document, environment: Mapping[str, str]) -> Settings:
    """The settings of the file, with those of the environment put over them.

    Raises:
        ConfigError: ``CFG-501`` unknown setting or wrong value, with ``file:line`` or the variable's name.
    """
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        raise _refusal(document.name, [(document.where(), "settings are written `name: value`")])
    given = {name: (value, document.where(name)) for name, value in data.items()}
    for name in _RULES:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in environment:
            given[name] = environment[variable], variable
    faults = [(where, fault) for name, (value, where) in given.items() if (fault := _fault(name, value))]
    faults += _slips(environment)
    if faults:
        raise _refusal(document.name, faults)
    values: dict[str, Any] = {
        name: int(value) if isinstance(_RULES[name], range) else value for name, (value, _) in given.items()
    }
    return Settings(**values)


def _slips(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that are nearly a setting's: a run must not go on with the default. Others belong to somebody else."""
    names = {ENVIRONMENT_PREFIX + name.upper() for name in _RULES}
    found = []
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in names:
            like = meant(variable, names)
            if like is not None:
                found.append((variable, f"is no setting; did you mean {like}?"))
    return found


def _fault(name: str, value: object) -> str | None:
    """What is wrong with a setting, in words. A number may be written as text, as the environment does."""
    rule = _RULES.get(name)
    if rule is None:
        return f"{name}: unknown key"
    if isinstance(rule, re.Pattern):
        right = isinstance(value, str) and rule.fullmatch(value)
        return None if right else f"{name}: {value!r} is not {_form(rule)}"
    number = re.fullmatch(r"[0-9]{1,9}", str(value))
    return None if number and int(number[0]) in rule else f"{name}: {value!r} is not a whole number {_form(rule)}"


def _form(rule: re.Pattern[str] | range) -> str:
    if isinstance(rule, range):
        return f"from {rule.start} to {rule.stop - 1}"
    return "a text" if rule is _TEXT else f"of the form {rule.pattern}"


def _refusal(name: str, faults: list[tuple[str, str]]) -> ConfigError:
    text = "; ".join(f"{where}: {what}" for where, what in faults)
    if all(where.startswith(ENVIRONMENT_PREFIX) for where, _ in faults):
        name = "the environment"
    return ConfigError(
        f"{len(faults)} fault(s) in {name}: {text}",
        code="CFG-501",
        where=faults[0][0],
        hint="settings are described in docs/settings.md",
    )
