"""How long a run will take on this machine, from the iterations that were tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sdakd_plugin.checks.dry_run import DryIteration
from sdakd_plugin.checks.timing import time_data, with_loading
from sdakd_plugin.utils.machine import Machine

LONG = 12 * 3600  # seconds: a run that takes longer on a CPU is one for a GPU


@dataclass(frozen=True)
class Forecast:
    """Attributes: parts (seconds of the parts of a run by their names, in order); machine; gpu (whether it is used)."""

    parts: Mapping[str, float]
    machine: Machine
    gpu: bool

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ', '.join(f'{name} {duration(seconds)}' for name, seconds in self.parts.items())
        place = self.machine.gpu if self.gpu else f'{self.machine.cores} CPU core{"s" * (self.machine.cores != 1)}'
        return (
            f'Training takes about {duration(self.seconds)} on this machine ({place}), without validation, checkpoints '
            'and the comparison at the end' + (f': {parts}' if len(self.parts) > 1 else '')
        )


def forecast(
    opt: Mapping[str, Any], tried: Iterable[DryIteration], images: float, gpu: bool, machine: Machine
) -> Forecast:
    """Estimate the time of a run.

    Args:
        opt: its options, as BasicSR's ``parse_options`` returns them.
        tried: the iterations of each stage.
        images: seconds for the teacher's images that are made before training.
        gpu: whether the iterations were tried on a GPU.
        machine: where.
    """
    block = opt['datasets']['train']
    batch, workers = block['batch_size_per_gpu'], block['num_worker_per_gpu']
    cores = None if gpu else machine.cores
    _, reading = time_data(block)
    parts = {"the teacher's images": images} if images else {}
    for one in tried:
        of_d = one.stage.last - one.stage.first + 1 - one.updates
        update, alone = (
            with_loading(seconds * batch / one.images, reading, batch, workers, cores)
            for seconds in (one.again, one.alone)
        )
        parts[one.stage.name] = one.updates * update + of_d * alone
    return Forecast(parts, machine, gpu)


def warning(found: Forecast) -> str | None:
    """What to do if a run takes longer than 12 hours on a CPU, in one line; ``None`` if it does not."""
    if found.gpu or found.seconds <= LONG:
        return None
    if torch.cuda.is_available():
        reason, remedy = 'num_gpu: 0 leaves the GPU of this machine unused', 'write num_gpu: auto'
    else:
        reason = 'num_gpu: PyTorch finds no GPU with CUDA'
        remedy = "train on a machine with one, with PyTorch's CUDA build, or train less (docs/budgets.md)"
    return f'warning: {reason}, and the CPU takes about {duration(found.seconds)}; {remedy}'


def duration(seconds: float) -> str:
    """A time in words, such as ``2 hours``."""
    for size, unit in ((86400.0, 'day'), (3600.0, 'hour'), (60.0, 'minute'), (1.0, 'second')):
        if seconds >= 1.5 * size or unit == 'second':
            count = seconds / size
            number = f'{count:.0f}' if count >= 10 or unit in ('second', 'minute') else f'{count:.1f}'
            return f'{number} {unit}{"s" * (number != "1")}'
    raise AssertionError
