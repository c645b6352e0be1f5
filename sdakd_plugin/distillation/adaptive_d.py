"""Pauses the discriminator while the generator falls behind (``adaptive_d`` of traiNNer-redux)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdakd_plugin.utils import processes


class AdaptiveD:
    """Decides, on the device, whether the discriminators of a student are updated in an iteration.

    They are not if the generator's GAN loss raises its exponential moving average to more than ``threshold`` times the
    value before: with the default values, if the loss is more than 21 times its average. The average starts with the
    first loss, not with 0 as in traiNNer-redux, where the first iterations are therefore paused.

    Args:
        decay: of the moving average.
        threshold: the factor.
        device: the device of the loss.
    """

    def __init__(self, decay: float, threshold: float, device: torch.device) -> None:
        self.decay, self.threshold = decay, threshold
        self.average = torch.full((), torch.nan, device=device)  # NaN before the first loss
        self.paused = torch.zeros((), dtype=torch.bool, device=device)
        self.count = torch.zeros((), device=device)  # of iterations without an update

    def watch(self, loss: Tensor) -> None:
        """Take the generator's GAN loss of an iteration, the same on all processes afterwards."""
        loss = processes.mean(loss.detach().float())
        average = torch.where(self.average.isnan(), loss, self.decay * self.average + (1 - self.decay) * loss)
        self.paused = average > self.threshold * self.average  # False before the first loss
        self.average = torch.where(average.isfinite(), average, self.average)

    def state(self) -> dict[str, Any]:
        """The average, the decision and the count, for a training state."""
        return {name: getattr(self, name).cpu() for name in ('average', 'paused', 'count')}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        for name, value in state.items():
            setattr(self, name, value.to(self.average.device))
