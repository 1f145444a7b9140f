"""One KPI of one tape under every definition that the tape can bear, side by side. Publishes nothing."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from abaco_loans.errors import InputError
from abaco_loans.kpi.result import KpiResult
from abaco_loans.operations.calculate import calculate
from abaco_loans.operations.read_tape import load_tape, stage_tape
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.tools import Tools
from abaco_loans.tape.definition import Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A KPI under one definition. ``result`` is None where the tape cannot bear the definition at all."""

    definition: Definition
    as_of: date | None
    result: KpiResult | None
    reason: str = ""

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        shown: dict[str, object] = {} if self.result is None else self.result.as_dict()
        return {
            "definition": self.definition.as_dict(),
            "as_of": self.as_of and self.as_of.isoformat(),
            "reason": self.reason,
            **shown,
        }


def explain_kpi(
    kpi_id: str,
    path: Path,
    tools: Tools,
    *,
    as_of: date | None = None,
    release: str | None = None,
    layout: str | None = None,
    mapping: str | None = None,
) -> list[Explained]:
    """Compute a KPI from a tape under each definition of the release.

    Raises:
        ConfigError: ``KPI-105`` there is no such KPI.
        InputError: the tape cannot be read.
    """
    loaded = tools.workspace.release(release)
    loaded.catalogue.get(kpi_id)
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder(tools.workspace))
        engine = tools.open_engine(scratch, [scratch])
        stack.callback(engine.close)
        staged = stage_tape(path, loaded, scratch, lambda: engine, layout=layout, mapping=mapping)
        tape = load_tape(staged, engine, tools.key, scratch, tools.progress)
        found = []
        for definition in loaded.definitions.values():
            tools.progress(f"calculating under {definition.name}")
            try:
                calculated = calculate(
                    tape,
                    engine,
                    loaded,
                    definition,
                    as_of=as_of,
                    reporting_currency=tools.workspace.settings.reporting_currency,
                    segments=False,
                )
            except InputError as error:
                if error.code != "TAPE-109":
                    raise
                found.append(Explained(definition=definition, as_of=as_of, result=None, reason=error.what))
                continue
            result = next(item for item in calculated.evaluation.overall if item.kpi.id == kpi_id)
            found.append(Explained(definition=definition, as_of=calculated.as_of, result=result, reason=result.reason))
        return found
