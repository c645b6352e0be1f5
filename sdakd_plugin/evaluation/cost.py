"""What a generator costs: parameters, multiply-adds, time. Called through ``families.calling``, as in training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.logging import MMLogger
from torch import Tensor, nn

from sdakd_plugin.families.calling import ImageToImage, super_resolve
from sdakd_plugin.utils.timing import in_turns

Name = TypeVar('Name', bound=Hashable)


@dataclass(frozen=True)
class Cost:
    """Attributes: parameters (count), multiply_adds (count, for ``input_shape``), input_shape (c, h, w)."""

    parameters: int
    multiply_adds: int
    input_shape: tuple[int, ...]


def count(net: nn.Module, input_shape: Sequence[int]) -> Cost:
    """Count parameters and multiply-adds of one pass, through mmengine's analysis.

    Args:
        net: the generator; buffers and elementwise operations do not count.
        input_shape: (c, h, w) of one LQ image.
    """
    parameters = sum(parameter.numel() for parameter in net.parameters())
    logger = MMLogger.get_current_instance()  # it lists every elementwise operation that it does not count
    before = logger.level
    logger.setLevel('ERROR')
    try:
        found = get_model_complexity_info(ImageToImage(net), tuple(input_shape), show_table=False, show_arch=False)
    finally:
        logger.setLevel(before)
    return Cost(parameters, int(found['flops']), tuple(input_shape))


def seconds(net: nn.Module, image: Tensor, repeat: int = 3) -> float:
    """Median time of a forward pass over ``image`` (1, c, h, w), after one warm-up pass."""
    return median(interleaved({'': net}, image, repeat)[''])


@torch.no_grad()
def interleaved(nets: Mapping[Name, nn.Module], image: Tensor, repeat: int) -> dict[Name, list[float]]:
    """Time several generators in turns, so that other load on the machine affects all of them alike.

    Args:
        nets: by name, on the device of ``image``.
        image: (1, c, h, w), range 0..1.
        repeat: how many forward passes of each are timed, after one warm-up pass of each.

    Returns:
        The seconds of each pass by name; passes of the same index followed one another.
    """
    steps = {name: partial(super_resolve, net, image) for name, net in nets.items()}
    return in_turns(steps, repeat, image.device)


def machine(device: torch.device) -> str:
    """Where a time was measured, such as ``'a CPU with 8 threads'``."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    if device.type == 'mps':
        return "Apple's GPU"
    threads = torch.get_num_threads()
    return f'a CPU with {threads} thread{"s" if threads > 1 else ""}'
