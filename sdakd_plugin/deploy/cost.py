"""What a network costs: parameters, multiply-adds, time."""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.logging import MMLogger
from torch import Tensor, nn


@dataclass(frozen=True)
class Cost:
    """Attributes: parameters (count), multiply_adds (count, for ``input_shape``), input_shape (c, h, w)."""

    parameters: int
    multiply_adds: int
    input_shape: tuple[int, ...]


def count(net: nn.Module, input_shape: Sequence[int]) -> Cost:
    """Count parameters and multiply-adds of one pass, through mmengine's analysis.

    Args:
        net: the network; buffers and elementwise operations do not count.
        input_shape: (c, h, w) of one image.
    """
    parameters = sum(parameter.numel() for parameter in net.parameters())
    logger = MMLogger.get_current_instance()  # it lists every elementwise operation that it does not count
    before = logger.level
    logger.setLevel('ERROR')
    try:
        found = get_model_complexity_info(net, input_shape=tuple(input_shape), show_table=False, show_arch=False)
    finally:
        logger.setLevel(before)
    return Cost(parameters, int(found['flops']), tuple(input_shape))


@torch.no_grad()
def seconds(net: nn.Module, image: Tensor, repeat: int = 3) -> float:
    """Median time of a pass over ``image`` (1, c, h, w), after one for warming up."""
    times = []
    for _ in range(repeat + 1):
        _synchronize(image.device)
        start = time.perf_counter()
        net(image)
        _synchronize(image.device)
        times.append(time.perf_counter() - start)
    return median(times[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
