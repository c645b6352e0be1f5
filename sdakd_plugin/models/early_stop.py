"""Decides whether the validations of a run no longer improve."""

from __future__ import annotations

import math
from collections.abc import Sequence


def has_stalled(values: Sequence[float | None], patience: int, lower: bool) -> bool:
    """Whether the last ``patience`` values are all no better than the best one before them.

    Args:
        values: the metric of each validation, in order; ``None`` where it was not finite, which is never better.
        patience: number of values.
        lower: whether a lower value is better.
    """
    worst = math.inf
    known = [worst if value is None else value if lower else -value for value in values]
    return len(known) > patience and min(known[-patience:]) >= min(known[:-patience])
