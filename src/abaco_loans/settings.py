"""The settings of a workspace: ``abaco.yml`` and the environment become one frozen object.

Every setting is documented in ``docs/settings.md`` (a test fails on one that is not). An environment variable
``ABACO_<NAME>`` wins over the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from pydantic import Field as ModelField

from abaco_loans.checked import FileModel, check
from abaco_loans.strict_yaml import Document

ENVIRONMENT_PREFIX = "ABACO_"


DESCRIPTIONS = {
    "release": "the release that `abaco run` uses",
    "reporting_currency": "ISO 4217 code of all `*_usd` columns",
    "memory_mb": "megabytes that the engine may use before it spills to disk",
    "threads": "threads of the engine",
    "records_url": "where runs and the ledger are kept; empty is SQLite in the workspace, `postgresql://...` a server",
    "masking_key_file": "the masking key, relative to the workspace; readable by its owner only",
    "lock_timeout_s": "seconds to wait for another run of the same tape",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a workspace is set to; each field is described in :data:`DESCRIPTIONS`."""

    release: str = "v2"
    reporting_currency: str = "USD"
    memory_mb: int = 600
    threads: int = 2
    records_url: str = ""
    masking_key_file: str = "keys/masking.key"
    lock_timeout_s: int = 600


class _SettingsFile(FileModel):
    release: str = ModelField(default="v2", pattern=r"^[a-z][a-z0-9_.-]{0,62}$")
    reporting_currency: str = ModelField(default="USD", pattern=r"^[A-Z]{3}$")
    memory_mb: int = ModelField(default=600, ge=200, le=1_000_000)
    threads: int = ModelField(default=2, ge=1, le=256)
    records_url: str = ""
    masking_key_file: str = "keys/masking.key"
    lock_timeout_s: int = ModelField(default=600, ge=0, le=86_400)


def read_settings(document: Document, environment: Mapping[str, str]) -> Settings:
    """The settings of the file, with those of the environment put over them.

    Raises:
        ConfigError: ``CFG-501`` unknown setting or wrong value, with ``file:line``.
    """
    data = dict(document.data or {}) if isinstance(document.data, dict | None) else document.data
    if isinstance(data, dict):
        for name in (field.name for field in fields(Settings)):
            value = environment.get(ENVIRONMENT_PREFIX + name.upper())
            if value is not None:
                data[name] = value
    merged = Document(name=document.name, data=data, lines=document.lines)
    file = check(merged, _SettingsFile, code="CFG-501", hint="settings are described in docs/settings.md")
    return Settings(**file.model_dump())
