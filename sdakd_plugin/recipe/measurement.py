"""Tries choices on this machine: seconds of an iteration of each stage, of the teacher and of the data, and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from basicsr.data import build_dataset

from sdakd_plugin.checks.dry_run import first_batch, iteration_to_try
from sdakd_plugin.checks.run import check
from sdakd_plugin.data.published import completed
from sdakd_plugin.evaluation.peak_memory import resident
from sdakd_plugin.stock.silence import quiet
from sdakd_plugin.utils.random_state import undisturbed_rng

TRIALS = 3  # iterations after the first, which is slower
SIDE = 64  # pixels: the side of the LQ image that the teacher enlarges


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
        torch.OutOfMemoryError: the batch does not fit into the GPU's memory.
    """
    opt = as_parsed(opt)
    block = opt['datasets']['train']
    with quiet(), undisturbed_rng():
        model = check(opt, int(gpu))
        degrading, reading = time_data(block)
        batch = repeated(first_batch(opt), block['batch_size_per_gpu'])
        if 'cache' in opt['teacher']:
            batch['teacher'] = batch['gt'].clone()
        stages = {stage.name: time_stage(model, stage, batch, gpu) for stage in model.schedule.stages}
    memory = torch.cuda.max_memory_allocated() if gpu else resident('VmHWM')
    return Measurement(stages, memory, degrading, reading)


def repeated(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A batch of a few images, repeated to a size: degrading as many photographs would take long."""
    images = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
    return {key: torch.cat([value] * -(-size // len(value)))[:size] for key, value in images.items()}


def as_parsed(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a file with what BasicSR's ``parse_options`` adds to the data sets."""
    opt = completed(deepcopy(dict(opt)))
    for phase, block in opt['datasets'].items():
        block.update(phase=phase, scale=opt['scale'])
    return {**opt, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}


def time_data(block: dict[str, Any]) -> tuple[float, float]:
    """Seconds of making a fixed LQ image, and of reading a photograph whose LQ image is known."""
    dataset = build_dataset(deepcopy(block))
    seconds = []
    for _ in range(2):  # the second time the LQ image is in memory
        begun = time.perf_counter()
        _ = dataset[0]
        seconds.append(time.perf_counter() - begun)
    return max(0.0, seconds[0] - seconds[1]), seconds[1]


def time_stage(model: Any, stage: Any, batch: dict[str, Any], gpu: bool) -> float:
    """Seconds of an iteration of a stage, the median of a few."""
    train = model.options.train
    iteration, seconds = iteration_to_try(stage, model.schedule, train), []
    for _ in range(1 + TRIALS):
        begun = time.perf_counter()
        model.update_learning_rate(iteration, warmup_iter=train.warmup_iter)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return sorted(seconds[1:])[TRIALS // 2]


@torch.no_grad()
def time_teacher(net: torch.nn.Module, gpu: bool) -> float:
    """Seconds that the teacher takes for one LQ pixel of a stored image, in float32; the first time is slower."""
    device = torch.device('cuda' if gpu else 'cpu')
    net, image, seconds = net.to(device), torch.rand(1, 3, SIDE, SIDE, device=device), []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        float(net(image).mean())  # waits for the GPU
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / SIDE**2
