"""Abaco Loans: loan-tape KPIs with proof, and pipelines that can be replaced safely."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from abaco_loans.notebook import Panel, Table, Tape, panel, read_tape, views

__version__ = "0.1.0"
__all__ = ["Panel", "Table", "Tape", "__version__", "panel", "read_tape", "views"]

if not TYPE_CHECKING:
    # Loaded when first used, so that the import itself and `abaco --help` stay instant.
    def __getattr__(name):
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("abaco_loans.notebook"), name)

    def __dir__():
        return sorted({*globals(), *__all__})
