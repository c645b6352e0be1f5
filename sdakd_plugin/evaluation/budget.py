"""Whether a network stays within the limits of a challenge."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.budgets import BUDGETS, Budget
from sdakd_plugin.evaluation.table import cell
from sdakd_plugin.families.calling import super_resolve


@dataclass(frozen=True)
class Usage:
    """What a network uses of a budget. Attributes: parameters; multiply_adds (``None``: unknown, since the network does
    not accept an image of that size); reason (why they are unknown)."""

    parameters: int
    multiply_adds: int | None
    reason: str = ''

    def lines(self, name: str, budget: Budget) -> list[str]:
        """One line for each limit: the value, the limit, and whether the value is within it, yes or no."""
        size = f'for an LQ image of {budget.width}x{budget.height}'
        found = [
            f'{name}: {cell("parameters", self.parameters)} parameters, limit '
            f'{cell("parameters", budget.parameters)}: {_answer(self.parameters, budget.parameters)}'
        ]
        if self.multiply_adds is None:
            return [*found, f'{name}: multiply-adds {size} unknown: {self.reason}']
        return [
            *found,
            f'{name}: {self.multiply_adds / 1e9:,.1f} G multiply-adds {size}, limit '
            f'{budget.multiply_adds / 1e9:,.0f} G: {_answer(self.multiply_adds, budget.multiply_adds)}',
        ]

    def as_json(self, budget: Budget) -> dict[str, Any]:
        """For each limit the value, the limit, and ``kept``, whether the value is within it; ``None`` if unknown."""
        return {
            key: {'value': value, 'limit': limit, 'kept': None if value is None else value <= limit}
            for key, limit, value in (
                ('parameters', budget.parameters, self.parameters),
                ('multiply_adds', budget.multiply_adds, self.multiply_adds),
            )
        }


def count_usage(net: nn.Module, budget: Budget) -> Usage:
    """Count a generator's parameters, and its multiply-adds at the budget's size.

    PyTorch's ``FlopCounterMode`` works on the meta device, so that a large image takes neither time nor memory. It
    counts convolutions and matrix products, each multiply-add as two operations, which are halved here. For
    convolutions that is what mmengine's analysis counts (``cost.count``), which adds interpolations.
    """
    parameters = sum(parameter.numel() for parameter in net.parameters())
    shapes = deepcopy(net).to('meta')
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            super_resolve(shapes, torch.empty(1, 3, budget.height, budget.width, device='meta'))
    except (AssertionError, NotImplementedError, RuntimeError, UserError) as error:
        return Usage(parameters, None, str(error).strip().split('\n')[0] or 'the network does not accept it')
    return Usage(parameters, counter.get_total_flops() // 2)


def text(name: str, usages: dict[str, Usage]) -> str:
    """The lines of all networks, followed by how their multiply-adds were counted."""
    lines = [line for each, one in usages.items() for line in one.lines(each, BUDGETS[name])]
    return '\n'.join([*lines, 'One multiply-add is one FLOP of the limit; elementwise operations do not count.'])


def as_json(name: str, usages: dict[str, Usage]) -> dict[str, Any]:
    """The budget and the usage of every network as JSON."""
    budget = BUDGETS[name]
    return {'name': name, **asdict(budget), 'networks': {each: one.as_json(budget) for each, one in usages.items()}}


def _answer(value: int, limit: int) -> str:
    return 'yes' if value <= limit else 'no'
