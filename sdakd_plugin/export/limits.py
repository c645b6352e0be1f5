"""What an int8 network may lose. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Attributes: max_loss (of PSNR to the ground truth, dB) and min_fidelity (PSNR between both networks' images)."""

    max_loss: float = 0.05
    min_fidelity: float = 38.0
