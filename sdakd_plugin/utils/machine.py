"""The machine that a run has: its GPU and its processor."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

NOTICED = 1.3  # times slower: a minute of this process's own work is less than that


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


def crowded() -> str | None:
    """How much slower other programs make this process, in one line; ``None`` if they do not, or it is not known (on
    Windows). To be called before computing: the load is that of the last minute."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
    cores = os.cpu_count() or 1  # those that the load is of, whichever this process may use
    slower = (load + torch.get_num_threads()) / cores
    if slower < NOTICED:
        return None
    return (
        f'Other programs are using the processor (load {load:.1f} on {cores} cores): without them it would be about '
        f'{slower:.1f} times faster; repeat this command when they are done'
    )
