"""Quantisation-aware training: from one stage on, the student computes in its loss what its int8 file will compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin.networks import fake_quantization
from sdakd_plugin.utils import processes

FITTED = 100  # iterations; one batch of small crops lacks the rare large values, and training hardly moves a range


class QuantizedStage:
    """Begins the fake quantisation of a student and of its moving average.

    Args:
        net_g: the student, not wrapped, after ``fake_quantization.insert``.
        net_g_ema: its moving average, likewise; ``None`` for none.
        bits: of weights and inputs.
        first: the first iteration that is quantised.
    """

    def __init__(self, net_g: nn.Module, net_g_ema: nn.Module | None, bits: int, first: int) -> None:
        self.nets = [net for net in (net_g, net_g_ema) if net is not None]
        self.bits, self.first, self.active = bits, first, False

    def begin(self, iteration: int, run: Callable[[], object]) -> None:
        """In the first ``FITTED`` iterations of the stage, fit the ranges to a float pass of the student, ``run``."""
        if iteration < self.first or (self.active and iteration >= self.first + FITTED):
            return
        if not self.active:
            get_root_logger().info(f'The student is quantised to {self.bits} bits from here on; its ranges are learnt.')
        fake_quantization.calibrate(self.nets[0], run)
        found = fake_quantization.ends(self.nets[0])
        shared = processes.tensor_of_first(torch.stack(list(found.values())))  # on the device: nothing waits for it
        self._activate([dict(zip(found, shared, strict=True))] * len(self.nets))

    def state(self) -> dict[str, Any]:
        """The ranges for a training state, and what they were fitted to; empty before the stage."""
        if not self.active:
            return {}
        return {
            'ends': [{name: values.cpu() for name, values in fake_quantization.ends(net).items()} for net in self.nets],
            'seen': fake_quantization.seen(self.nets[0]),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        if state:
            self._activate(state['ends'])
            fake_quantization.restore_seen(self.nets[0], state['seen'])

    def _activate(self, values: list[Any]) -> None:
        for net, own in zip(self.nets, values, strict=True):
            fake_quantization.activate(net, own)
        self.active = True
