"""Seconds of the parts of a run on this machine: an iteration, the teacher, the data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from basicsr.data import build_dataset

TRIALS = 3  # the first is slower
SIDE = 64  # pixels: the side of the LQ image that the teacher enlarges


def time_iteration(model: Any, iteration: int, batch: Mapping[str, Any]) -> float:
    """Train one iteration, and return its seconds."""
    begun = time.perf_counter()
    model.update_learning_rate(iteration, warmup_iter=model.options.train.warmup_iter)
    model.feed_data(batch)
    model.optimize_parameters(iteration)
    if model.device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - begun


@torch.no_grad()
def time_teacher(net: torch.nn.Module, gpu: bool) -> float:
    """Seconds that the teacher takes for one LQ pixel of a stored image, in float32."""
    device = torch.device('cuda' if gpu else 'cpu')
    net, image, seconds = net.to(device), torch.rand(1, 3, SIDE, SIDE, device=device), []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        float(net(image).mean())  # waits for the GPU
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / SIDE**2


def time_data(block: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of making a fixed LQ image, and of reading a photograph whose LQ image is known."""
    dataset = build_dataset(deepcopy(dict(block)))
    seconds = []
    for _ in range(2):  # the second time the LQ image is in memory
        begun = time.perf_counter()
        _ = dataset[0]
        seconds.append(time.perf_counter() - begun)
    return max(0.0, seconds[0] - seconds[1]), seconds[1]


def with_loading(computing: float, reading: float, batch: int, workers: int, cores: int | None) -> float:
    """Seconds of an iteration with the loading of its batch. Both go on at the same time if there are cores for both.

    Args:
        computing: seconds of the iteration alone.
        reading: seconds of reading one image.
        batch: number of images.
        workers: processes that read; 0: the process that trains.
        cores: CPU cores that compute and read; ``None`` if a GPU computes.
    """
    loading = batch * reading / max(workers, 1)
    alone = workers == 0 or (cores is not None and cores <= workers)
    return computing + loading if alone else max(computing, loading)


def repeated(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A batch of a few images, repeated to a size: degrading as many photographs would take long."""
    images = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
    return {key: torch.cat([value] * -(-size // len(value)))[:size] for key, value in images.items()}
