"""The machine that a run has: its GPU and its processor."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch


class Machine(NamedTuple):
    """What a run has: the GPU's name, or ``None`` for a CPU; whether the GPU computes in bfloat16; the CPU cores."""

    gpu: str | None
    bfloat16: bool
    cores: int

    def __str__(self) -> str:
        return self.gpu or f'{self.cores} CPU core{"s" * (self.cores != 1)}, no GPU'


def this_machine() -> Machine:
    """The machine that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    if not torch.cuda.is_available():
        return Machine(None, False, cores)
    return Machine(torch.cuda.get_device_name(), torch.cuda.is_bf16_supported(including_emulation=False), cores)
