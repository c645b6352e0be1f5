"""Communication between the processes of distributed training.

All functions but ``mean`` and ``tensor_of_first`` communicate on the CPU, so that no GPU waits, and so that the
timeouts of the GPU backend do not apply while one process validates or writes. Every function must be called by all
processes. With a single process each of them returns at once.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Value = TypeVar('Value')
TIMEOUT = timedelta(days=1)  # the first process may validate for long; a dead process is noticed at once


def many() -> bool:
    """Whether there is more than one process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@cache
def _cpu() -> Any:
    return distributed.new_group(backend='gloo', timeout=TIMEOUT)


def is_first() -> bool:
    """Whether this process is the first one, which writes files."""
    return not many() or distributed.get_rank() == 0


def wait() -> None:
    """Wait until all processes have called this function."""
    if many():
        distributed.barrier(group=_cpu())


def from_first(value: Value) -> Value:
    """The value of the first process, on all processes."""
    if not many():
        return value
    box: list[Any] = [value]
    distributed.broadcast_object_list(box, src=0, group=_cpu())
    return box[0]


def gathered(value: Value) -> list[Value]:
    """The values of all processes by rank on the first process, and an empty list on the others."""
    if not many():
        return [value]
    values: list[Any] | None = [None] * distributed.get_world_size() if is_first() else None
    distributed.gather_object(value, values, dst=0, group=_cpu())
    return values or []


def largest(number: int) -> int:
    """The maximum over all processes, on all processes."""
    if not many():
        return number
    box = torch.tensor(number)
    distributed.all_reduce(box, distributed.ReduceOp.MAX, group=_cpu())
    return int(box)


def mean(tensor: Tensor) -> Tensor:
    """The mean over all processes, on the device of the tensor and without a gradient."""
    if not many():
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def tensor_of_first(tensor: Tensor) -> Tensor:
    """The tensor of the first process, on all processes, on the device of the tensor and without a gradient."""
    if not many():
        return tensor.detach()
    shared = tensor.detach().clone()
    distributed.broadcast(shared, src=0)
    return shared
