"""Refuses networks and batches that do not fit into memory: the system would kill the process without a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_parameter_registration_hook

from sdakd_plugin.errors import UserError
from sdakd_plugin.options import Options
from sdakd_plugin.utils.available_memory import available

COPIES = 4  # a trained parameter, its gradient, and Adam's two moments
MOST_TENSORS = 10_000  # x4plus has 702; building a network of a billion blocks would take days
GB = 1e9


class Tally:
    """Counts the memory of a run's networks while they are built and called once with one image.

    Attributes:
        parameters: bytes of all parameters.
        tensors: the number of parameters.
        features: the least bytes that the backward pass of one image needs, those of the outputs of trained layers.
    """

    def __init__(self) -> None:
        self.parameters = self.tensors = self.features = 0
        self.room = available()

    def count_parameter(self, _module: nn.Module, _name: str, parameter: Any) -> None:
        """Count a parameter. It has not been written to, so that the system has not allocated its memory yet."""
        if isinstance(parameter, Tensor):
            self.parameters += parameter.numel() * parameter.element_size()
            self.tensors += 1
        if self.tensors > MOST_TENSORS:
            raise UserError(f'there are more than {MOST_TENSORS:,} tensors in the networks; use fewer layers')
        if self.room is not None and self.parameters * COPIES > self.room:
            raise UserError(
                f'training the networks takes {self.parameters * COPIES / GB:,.0f} GB for their parameters '
                f'alone, and {self.room / GB:,.1f} GB are available; use fewer channels'
            )

    def count_output(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """Count the output of a layer."""
        if isinstance(output, Tensor) and any(one.requires_grad for one in module.parameters(recurse=False)):
            self.features += output.numel() * output.element_size()

    def check_batch(self, options: Options) -> None:
        """Raise a UserError if a training batch exceeds a CPU's memory. Members of a cohort train in turns."""
        batch = options.datasets.get('train', {}).get('batch_size_per_gpu', 1)
        needed = self.features // len(options.students) * batch
        if self.room is not None and needed > self.room:
            fits = max(1, batch * self.room // needed)
            raise UserError(
                f'datasets.train.batch_size_per_gpu: a batch of {batch} takes {needed / GB:,.0f} GB, and '
                f'{self.room / GB:,.1f} GB are available; use at most {fits}, or smaller crops'
            )


@contextmanager
def tally() -> Iterator[Tally]:
    """Count all modules that are built or called inside the block."""
    found = Tally()
    handles = [
        register_module_parameter_registration_hook(found.count_parameter),
        register_module_forward_hook(found.count_output),
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
