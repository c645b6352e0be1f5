"""Tries choices on this machine: seconds of an iteration of each stage and of the data, and memory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from statistics import median
from typing import Any, NamedTuple

import torch

from sdakd_plugin.checks.dry_run import first_batch, iteration_to_try
from sdakd_plugin.checks.run import check
from sdakd_plugin.checks.timing import repeated, time_data, time_iteration
from sdakd_plugin.data.published import completed
from sdakd_plugin.evaluation.peak_memory import resident
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.utils.random_state import undisturbed_rng

TRIALS = 3  # timed iterations


class Measurement(NamedTuple):
    """Seconds of an iteration of each stage by name; bytes that training takes; seconds of making an LQ image, and of
    reading a photograph."""

    stages: dict[str, float]
    memory: int
    degrading: float
    reading: float


def measure(opt: Mapping[str, Any], gpu: bool) -> Measurement:
    """Train each stage for a few iterations with full batches. Nothing is written.

    Args:
        opt: the options as in the file; with ``teacher.cache`` the ground truth stands in for the teacher's images.
        gpu: whether to use the GPU.

    Raises:
        UserError: the options do not pass ``check``.
        torch.cuda.OutOfMemoryError: the batch does not fit into the GPU's memory.
    """
    opt = as_parsed(opt)
    block = opt['datasets']['train']
    with quiet(), undisturbed_rng():
        model = check(opt, int(gpu))
        degrading, reading = time_data(block)
        batch = repeated(first_batch(opt), block['batch_size_per_gpu'])
        if 'cache' in opt['teacher']:
            batch['teacher'] = batch['gt'].clone()
        stages = {stage.name: time_stage(model, stage, batch) for stage in model.schedule.stages}
    memory = torch.cuda.max_memory_allocated() if gpu else resident('VmHWM')
    return Measurement(stages, memory, degrading, reading)


def as_parsed(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a file with what BasicSR's ``parse_options`` adds to the data sets."""
    opt = completed(deepcopy(dict(opt)))
    for phase, block in opt['datasets'].items():
        block.update(phase=phase, scale=opt['scale'])
    return {**opt, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}


def time_stage(model: Any, stage: Any, batch: dict[str, Any]) -> float:
    """Seconds of an iteration of a stage, the median of a few after the first, which is slower."""
    iteration = iteration_to_try(stage, model.schedule, model.options.train)
    return median([time_iteration(model, iteration, batch) for _ in range(1 + TRIALS)][1:])
