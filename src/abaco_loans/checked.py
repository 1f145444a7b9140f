"""Check data from a configuration file against a pydantic model, and say every fault with its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from abaco_loans.document import Document
from abaco_loans.errors import ConfigError


class FileModel(BaseModel):
    """Base of all models of files: unknown keys are refused, nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "missing",
    "string_type": "not a text; put it in quotes",
}

Model = TypeVar("Model", bound=BaseModel)


def check(document: Document, model: type[Model], *, code: str, hint: str) -> Model:
    """The document as ``model``.

    Raises:
        ConfigError: with ``code``; names every fault with ``file:line``, the first one in ``where``.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        faults = [(document.where(*item["loc"]), _told(item)) for item in _of_one_form(error.errors())]
        text = "; ".join(f"{where}: {what}" for where, what in faults[:20])
        raise ConfigError(
            f"{len(faults)} fault(s) in {document.name}: {text}", code=code, where=faults[0][0], hint=hint
        ) from error


def _of_one_form(errors: Sequence[Any]) -> list[Any]:
    """Where a value may be a text or keys of its own: the faults of its keys, or that it is neither."""
    inside = {item["loc"][:place] for item in errors for place, part in enumerate(item["loc"][:-1]) if _is_form(part)}
    texts = {item["loc"][:-1] for item in errors if item["loc"][-1:] == ("str",)}
    kept = []
    for item in errors:
        *above, last = item["loc"] or ("",)
        if (last == "str" and tuple(above) in inside) or (_is_form(last) and tuple(above) in texts):
            continue
        kept.append({**item, "loc": tuple(above)} if last == "str" else item)
    return kept


def _is_form(part: object) -> bool:
    """Whether a part of a place is the name of one of our models, and no key of the file."""
    return str(part).startswith("_")


def _told(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"] if not _is_form(part))
    lacking = item["input"] is None and item["type"].endswith("_type")
    what = "empty" if lacking else _WORDS.get(item["type"], str(item["msg"]))
    return f"{path}: {what}" if path else what
