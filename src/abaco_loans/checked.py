"""Check data from a configuration file against a pydantic model, and say every fault with its line."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from abaco_loans.document import Document
from abaco_loans.errors import ConfigError


class FileModel(BaseModel):
    """Base of all models of files: unknown keys are refused, nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


Model = TypeVar("Model", bound=BaseModel)


def check(document: Document, model: type[Model], *, code: str, hint: str) -> Model:
    """The document as ``model``.

    Raises:
        ConfigError: with ``code``; names every fault with ``file:line``, the first one in ``where``.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        faults = [(document.where(*item["loc"]), _told(item)) for item in error.errors()]
        text = "; ".join(f"{where}: {what}" for where, what in faults[:20])
        raise ConfigError(
            f"{len(faults)} fault(s) in {document.name}: {text}", code=code, where=faults[0][0], hint=hint
        ) from error


def _told(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    what = {"extra_forbidden": "unknown key", "missing": "missing"}.get(item["type"], str(item["msg"]))
    return f"{path}: {what}" if path else what
