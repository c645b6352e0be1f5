"""The score of the NTIRE 2026 mobile challenge: perceptual quality and speed in one number."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

PARTS = ('lpips', 'dists', 'clipiqa', 'maniqa', 'musiq', 'niqe')


def challenge_score(values: Mapping[str, float], speedup: float | None) -> float | None:
    """``2^((1 - LPIPS) + (1 - DISTS) + CLIPIQA + MANIQA + MUSIQ / 100 + max(0, (10 - NIQE) / 10)) * speedup^0.2``.

    Args:
        values: the metrics by their names in ``PARTS``, means over the images.
        speedup: the reference model's time divided by this one's.

    Returns:
        The score, higher is better; ``None`` if a part is missing or not finite.
    """
    parts = [values.get(name) for name in PARTS]
    if speedup is None or not all(part is not None and isfinite(part) for part in [*parts, speedup]):
        return None
    lpips, dists, clipiqa, maniqa, musiq, niqe = (float(part) for part in parts if part is not None)
    quality = (1 - lpips) + (1 - dists) + clipiqa + maniqa + musiq / 100 + max(0.0, (10 - niqe) / 10)
    return 2**quality * speedup**0.2
