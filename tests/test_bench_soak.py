"""The soak's statistics: a leak is found, however small beside the noise; what is flat, or takes steps, passes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bench.process import BenchError
from bench.soak import GROWTH_KB, slope_of, theil_sen

MB = 1_000_000
SAMPLES = 300
ALLOWED = GROWTH_KB * 45_000 / SAMPLES  # bytes a sample


def noisy(seed: int, size: float = 0.3) -> list[float]:
    """A process of 105 MB, some 0.3 MB up and down."""
    chance = random.Random(seed)
    return [105 * MB + chance.gauss(0, size * MB) for _ in range(SAMPLES)]


def grown(samples: Sequence[float], each: float) -> list[float]:
    return [value + number * each for number, value in enumerate(samples)]


def test_a_planted_leak_is_found() -> None:
    """45,000 calculations that lose 60 bytes each: 9 KB a sample, 2.2 MB over all."""
    found = [slope_of(grown(noisy(seed), each=9_000)) for seed in range(200)]
    assert all(item.certain > ALLOWED for item in found)
    assert sum(not item.low < 9_000 < item.high for item in found) <= 8  # the interval is one of 99 %
    assert all(item.estimate == pytest.approx(9_000, rel=0.25) for item in found)


def test_noise_alone_is_no_growth() -> None:
    """At 99 % one of a hundred may be called growth, and half of these are a fall."""
    assert sum(slope_of(noisy(seed)).certain > 0 for seed in range(200)) <= 4


@pytest.mark.parametrize(
    "samples",
    [
        [105.0 * MB] * SAMPLES,
        [105.0 * MB] * 150 + [106.0 * MB] * 150,  # an allocator takes a piece more
        grown([60.0 * MB] * 50, each=MB) + [110.0 * MB] * 250,  # warm-up
        grown(noisy(1), each=-9_000),  # it gives memory back
        [105 * MB - 1.2 * MB * 0.98**number for number in range(SAMPLES)],  # a heap that settles
    ],
    ids=["flat", "step", "warm-up", "falling", "settling"],
)
def test_what_is_no_leak_passes(samples: list[float]) -> None:
    assert slope_of(samples).certain < ALLOWED


def test_the_interval_is_that_of_sen() -> None:
    """A line without noise: every pair has its slope, and so has the interval."""
    found = theil_sen([3.0 * number for number in range(12)])
    assert (found.low, found.estimate, found.high) == (3, 3, 3)
    with pytest.raises(BenchError, match="too few"):
        theil_sen([1.0] * 9)
