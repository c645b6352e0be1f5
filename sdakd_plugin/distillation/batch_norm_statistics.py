"""Protects BatchNorm's running statistics, which a single NaN would make useless permanently."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormStatistics:
    """A copy of the running means and variances of networks; ``restore`` replaces those that are not finite."""

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        modules = [module for net in nets for module in net.modules() if isinstance(module, _BatchNorm)]
        self.now: list[Tensor] = [
            each for module in modules for each in (module.running_mean, module.running_var) if each is not None
        ]
        self.kept = [each.clone() for each in self.now]

    @torch.no_grad()
    def keep(self) -> None:
        """Update the copy."""
        for kept, now in zip(self.kept, self.now, strict=True):
            kept.copy_(now)

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the values that are not finite, without waiting for the device."""
        for kept, now in zip(self.kept, self.now, strict=True):
            now.copy_(torch.where(now.isfinite(), now, kept))
