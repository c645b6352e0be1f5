"""Refuses networks and batches that cannot fit into memory: the system would kill the process without a word."""
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
MOST_TENSORS = 10_000  # x4plus has 702; a network of a billion blocks would take for ever to build
GB = 1e9


class Tally:
    """What the networks of a run take while they are built and called once with one image.

    Attributes:
        parameters: bytes of all parameters.
        tensors: how many they are.
        features: bytes of what the backward pass of one image needs at least: the outputs of trained layers.
    """

    def __init__(self) -> None:
        self.parameters = self.tensors = self.features = 0
        self.room = available()

    def register(self, _module: nn.Module, _name: str, parameter: Any) -> None:
        """Count a parameter, which has not been written to yet, so that no memory is taken."""
        if isinstance(parameter, Tensor):
            self.parameters += parameter.numel() * parameter.element_size()
            self.tensors += 1
        if self.tensors > MOST_TENSORS:
            raise UserError(f'there are more than {MOST_TENSORS:,} tensors in the networks; use fewer layers')
        if self.room is not None and self.parameters * COPIES > self.room:
            raise UserError(f'training the networks takes {self.parameters * COPIES / GB:,.0f} GB for their parameters '
                            f'alone, and {self.room / GB:,.1f} GB are available; use fewer channels')

    def pass_by(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """Count what a layer puts out."""
        if isinstance(output, Tensor) and any(one.requires_grad for one in module.parameters(recurse=False)):
            self.features += output.numel() * output.element_size()

    def check_batch(self, options: Options) -> None:
        """Raise a UserError where a training batch cannot fit into a CPU's memory; members of a cohort train in turns.
        """
        batch = options.datasets.get('train', {}).get('batch_size_per_gpu', 1)
        needed = self.features // len(options.students) * batch
        if self.room is not None and needed > self.room:
            fits = max(1, batch * self.room // needed)
            raise UserError(f'datasets.train.batch_size_per_gpu: a batch of {batch} takes {needed / GB:,.0f} GB, and '
                            f'{self.room / GB:,.1f} GB are available; use at most {fits}, or smaller crops')


@contextmanager
def tally() -> Iterator[Tally]:
    """Count all modules that are built or called inside the block."""
    found = Tally()
    handles = [register_module_parameter_registration_hook(found.register), register_module_forward_hook(found.pass_by)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
