"""The metrics page: samples in the text format of Prometheus, or as OpenMetrics where the reader asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from abaco_loans.errors import WorldError
from abaco_loans.watch.exposed import EXPOSED, Exposed, Kind, Sample

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


def need_prometheus() -> None:
    """Check that the package is there which writes the page.

    Raises:
        WorldError: ``OUT-111`` it is not.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise WorldError(
            "serving metrics needs an extra package",
            code="OUT-111",
            where="watch serve",
            hint="pip install 'abaco-loans[watch]'",
        ) from error


def metrics_page(samples: Iterable[Sample], accept: str) -> tuple[bytes, str]:
    """The page and its content type.

    Args:
        accept: the ``Accept`` header of who asks; what is not understood gets the text format.
    """
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(_Collector(tuple(samples)))
    try:
        encode, kind = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no version
        encode, kind = choose_encoder("")
    return encode(registry), kind


class _Collector:
    """Gives one look at production, once."""

    def __init__(self, samples: tuple[Sample, ...]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """The families, in the order of `EXPOSED`; one without a sample is left out."""
        for exposed in EXPOSED.values():
            found = [item for item in self._samples if item.name == exposed.name]
            if found:
                yield _family(exposed, found)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry need not look at what there is."""
        return iter(())


def _family(exposed: Exposed, samples: Iterable[Sample]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    if exposed.kind is Kind.INFO:
        info = InfoMetricFamily(exposed.name.removesuffix("_info"), exposed.text)
        for item in samples:
            info.add_metric((), dict(item.labels))
        return info
    counted = exposed.kind is Kind.COUNTER
    kind = CounterMetricFamily if counted else GaugeMetricFamily
    family = kind(exposed.name.removesuffix("_total"), exposed.text, labels=exposed.labels)
    for item in samples:
        family.add_metric([item.labels[label] for label in exposed.labels], float(item.value))
    return family
