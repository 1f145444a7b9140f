"""A soak: thousands of calculations in one process, without an error, and memory that does not grow.

Method: the first fifth of the samples is warm-up and left out. Of the rest, the medians of up to 30 stretches of equal
length; over these the slope of Theil and Sen (the median of the slopes of all pairs), with the distribution-free
interval of Sen (1968) from the variance of Kendall's S, ties corrected. Memory grows if the whole 99 % interval lies
above `GROWTH_KB`. Allocators take memory in steps: a step or two are no slope to this estimate, a leak is.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median

from bench.measure import Bench
from bench.process import BenchError, python, took
from bench.table import Budget, Line

ROWS = 1_000
CONFIDENCE = 0.99
MEMORY_MB = 150.0
# In 1,000 calculations: 20 bytes each, as much as the engine itself keeps of a query while it is open. What it gives
# back leaves gaps in the heap: the process settles over some 50,000 calculations, by 1 to 2 MB of 100.
GROWTH_KB = 20.0
_WARM_UP = 0.2
_STRETCHES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Growth from one sample to the next, in the samples' unit: the estimate, and the ends of its interval."""

    low: float
    estimate: float
    high: float

    @property
    def certain(self) -> float:
        """Growth that chance does not explain: how far the interval lies above zero."""
        return max(0.0, self.low)


def slope_of(samples: Sequence[float]) -> Slope:
    """The slope of samples that were taken at equal distances, after the warm-up."""
    kept = samples[math.ceil(len(samples) * _WARM_UP) :]
    size = max(1, len(kept) // _STRETCHES)
    stretches = [median(kept[start : start + size]) for start in range(0, len(kept) - size + 1, size)]
    found = theil_sen(stretches)
    return Slope(low=found.low / size, estimate=found.estimate / size, high=found.high / size)


def theil_sen(values: Sequence[float]) -> Slope:
    """The median slope of all pairs, and Sen's interval; at least ten values."""
    count = len(values)
    if count < 10:
        raise BenchError(f"{count} samples are too few for a slope")
    slopes = sorted((values[j] - values[i]) / (j - i) for i, j in combinations(range(count), 2))
    ties = sum(times * (times - 1) * (2 * times + 5) for times in Counter(values).values())
    deviation = math.sqrt((count * (count - 1) * (2 * count + 5) - ties) / 18)
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * deviation
    low, high = math.floor((len(slopes) - reach) / 2), math.ceil((len(slopes) + reach) / 2)
    return Slope(low=slopes[max(0, low)], estimate=median(slopes), high=slopes[min(len(slopes) - 1, high)])


def measure_soak(bench: Bench) -> Iterator[Line]:
    """All lines of the table of the soak."""
    times = bench.soak
    bench.tell(f"{times:,} calculations of {ROWS:,} rows")
    with bench.workspace() as place:
        done = took(python("-m", "bench.soak_run", str(place), str(bench.tape(ROWS)), str(times)))
    found = json.loads(done.text)
    a_thousand = len(found["sizes"]) / times * 1_000 / 1_000  # samples in a thousand calculations; bytes to KB
    slope = slope_of(found["sizes"])
    yield Line(what=f"{times:,} calculations of {ROWS:,} rows", measured=[found["seconds"]], cpu_s=[done.cpu_s])
    yield Line(
        what="of them with another result than the first",
        measured=[found["wrong"]],
        unit="calculations",
        budget=Budget(at_most=1, unit="calculations"),
    )
    yield Line(
        what="growth of memory a 1,000 calculations, with its 99 % interval",
        measured=[end * a_thousand for end in (slope.low, slope.estimate, slope.high)],
        unit="KB",
    )
    yield Line(
        what="of it more than chance explains",
        measured=[slope.certain * a_thousand],
        unit="KB",
        budget=Budget(at_most=GROWTH_KB, unit="KB"),
    )
    yield Line(
        what="peak memory of the process",
        measured=[done.peak_mb],
        unit="MB",
        budget=Budget(at_most=MEMORY_MB, unit="MB"),
    )
