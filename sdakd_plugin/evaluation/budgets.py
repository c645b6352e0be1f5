"""The limits of challenges. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Limits. Attributes: parameters, multiply_adds (the maxima); width, height (of the LQ image, in pixels)."""

    parameters: int
    multiply_adds: int
    width: int
    height: int


BUDGETS = {'efficiency': Budget(5_000_000, 2_000_000_000_000, 960, 540)}
"""By name. ``efficiency``: AIM 2025's efficient perceptual super-resolution (arXiv 2510.12765), 5 M parameters and
2,000 GFLOPs for the input, an LQ image of 960x540 (3840x2160 after x4). As is usual in such challenges, a multiply-add
is one of these FLOPs: the limit is described as 22 % of Real-ESRGAN's work, which is 9,293 G multiply-adds there.
"""
