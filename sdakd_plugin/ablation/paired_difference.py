"""Whether arms differ: paired differences over the seeds, and the time until a quality is reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import t

CONFIDENCE = 0.95
SAME = 'not distinguishable'


@dataclass(frozen=True)
class Difference:
    """Attributes: count (of pairs); mean; low and high (of the mean's 95 % interval; not finite for a single pair)."""

    count: int
    mean: float
    low: float
    high: float

    def verdict(self, better: str) -> str:
        """``better``, ``worse`` or ``not distinguishable``.

        Args:
            better: ``higher`` or ``lower`` values.
        """
        if self.low <= 0 <= self.high:
            return SAME
        return 'better' if (self.mean > 0) == (better == 'higher') else 'worse'

    def __str__(self) -> str:
        interval = f' [{self.low:+.4f}, {self.high:+.4f}]' if math.isfinite(self.low) else ''
        return f'{self.mean:+.4f}{interval}'


def difference(pairs: Sequence[tuple[float, float]]) -> Difference:
    """The mean of ``value - control`` with the interval of Student's t; differences between the seeds cancel out.

    Args:
        pairs: ``(value, control)`` of each seed, at least one.
    """
    values = [value - control for value, control in pairs]
    middle, count = mean(values), len(values)
    half = math.inf
    if count > 1:
        half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * stdev(values) / math.sqrt(count)
    return Difference(count, middle, middle - half, middle + half)


def time_to(curve: Sequence[tuple[float, float]], quality: float, better: str) -> float | None:
    """The seconds at the first validation that was as good as ``quality``, ``None`` if there was none.

    Args:
        curve: ``(seconds, value)`` of the validations, in their order.
        quality: a value of the metric.
        better: ``higher`` or ``lower`` values.
    """
    sign = 1 if better == 'higher' else -1
    return next((seconds for seconds, value in curve if sign * value >= sign * quality), None)
