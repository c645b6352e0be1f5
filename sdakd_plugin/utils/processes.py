"""What processes that train together tell each other. All but ``mean`` goes over the CPU, so that no GPU waits for it,
and neither do the timeouts of a GPU's backend run while one process validates or writes.

Every function is called by all processes alike; in a run of one process each answers at once.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Value = TypeVar('Value')
PATIENCE = timedelta(days=1)  # for the first process to validate; one that has died is noticed at once


def many() -> bool:
    """Whether there is more than this process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@cache
def _cpu() -> Any:
    return distributed.new_group(backend='gloo', timeout=PATIENCE)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not many() or distributed.get_rank() == 0


def wait() -> None:
    """Go on when all processes are here."""
    if many():
        distributed.barrier(group=_cpu())


def from_first(value: Value) -> Value:
    """What the first process has."""
    if not many():
        return value
    box: list[Any] = [value]
    distributed.broadcast_object_list(box, src=0, group=_cpu())
    return box[0]


def gathered(value: Value) -> list[Value]:
    """What all processes have, in their order, for the first one; an empty list for the others."""
    if not many():
        return [value]
    values: list[Any] | None = [None] * distributed.get_world_size() if is_first() else None
    distributed.gather_object(value, values, dst=0, group=_cpu())
    return values or []


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if not many():
        return number
    box = torch.tensor(number)
    distributed.all_reduce(box, distributed.ReduceOp.MAX, group=_cpu())
    return int(box)


def mean(tensor: Tensor) -> Tensor:
    """The mean over all processes, where the tensor is, without a gradient."""
    if not many():
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
