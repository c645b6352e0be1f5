"""A GPU in pretence: fake tensors have shapes, types and devices but no values, so ``cuda`` needs no GPU.

A tensor on the wrong device fails with both devices named, and reading a value raises ``DataDependentOutputException``
except in the functions of ``READERS``. The backward pass is that of ``fake_autograd.py``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import numpy as np
import torch
from basicsr.data.degradations import generate_gaussian_noise_pt, generate_poisson_noise_pt
from basicsr.utils.diffjpeg import quality_to_factor
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sdakd_plugin.distillation.balance import Balance
from sdakd_plugin.models.health import check_health
from sdakd_plugin.models.plugin_model import PluginModel
from sdakd_plugin.models.stage_validation import StageValidation
from sdakd_plugin.utils import bicubic
from tests.helpers.fake_autograd import CUDA, backward, check, grad

__all__ = ['CUDA', 'Waits', 'check', 'fake_cuda']

READERS = {
    inspect.unwrap(function).__code__  # without the decorator, which many share
    for function in (
        Balance.__init__,  # the chance loss, once
        bicubic._matrix,  # once for each size
        # BasicSR's degradation: the quality of each image, whether one gets grey noise, the number of its levels
        quality_to_factor,
        generate_gaussian_noise_pt,
        generate_poisson_noise_pt,
        check_health,  # in iterations that print
        PluginModel.get_current_log,
        PluginModel.save,
        StageValidation.run,
    )
}
ITERATION = {PluginModel.feed_data.__code__, PluginModel.optimize_parameters.__code__}
aten = torch.ops.aten
READ, UNIQUE = aten._local_scalar_dense.default, aten._unique2.default
COPY, COPY_INTO = aten._to_copy.default, aten.copy_.default


class Waits(TorchDispatchMode):
    """Fails where the host would wait for the GPU, and where a generator is of another device than its numbers.

    It would for a value that it reads, for a copy to the CPU and, while the GPU computes an iteration, for a copy to
    the GPU unless that is ``non_blocking``. Fake tensors notice neither copies nor the generator. A value that may be
    read is 1, and a flag is set on the CPU and unset on the GPU: nothing is wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.allowed = False  # whether the host may wait anywhere
        self.recorded: list[Tensor] = []  # with ``Tensor.record_stream``

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is READ and ((on_cpu := args[0].device.type == 'cpu') or self.may_wait()):
            return on_cpu if args[0].dtype is torch.bool else 1.0 if args[0].dtype.is_floating_point else 1
        if function is UNIQUE and self.may_wait():
            return args[0].reshape(-1), *(torch.empty(0, dtype=torch.long, device=args[0].device) for _ in range(2))
        result = function(*args, **kwargs)
        if kwargs.get('generator') is not None:
            check('generator', kwargs['generator'].device, result.device)
        if function is COPY:
            self.check_copy(args[0], result, kwargs.get('non_blocking', False))
        elif function is COPY_INTO:
            self.check_copy(args[1], result, args[2] if len(args) > 2 else False)
        return result

    def check_copy(self, source: Tensor, result: Tensor, non_blocking: bool) -> None:
        back = source.device.type == 'cuda'
        if (back or (not non_blocking and is_called(ITERATION))) and not self.may_wait():
            check('copy that waits', result.device, source.device)

    def may_wait(self) -> bool:
        """Whether the host may wait for the GPU now: in a function of ``READERS``."""
        return self.allowed or is_called(READERS)


def is_called(codes: Collection[CodeType]) -> bool:
    """Whether one of these functions is being called."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def apply(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """In place of ``nn.Module._apply``, which changes parameters in place; fake ones must be made anew."""
    for child in module.children() if recurse else ():
        apply(child, function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                module._parameters[name] = nn.Parameter(function(parameter), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = function(buffer)
    return module


def set_rng_state(state: Tensor, device: Any = 0) -> None:
    """In place of ``torch.cuda.set_rng_state``, which takes a state on the CPU."""
    check('RNG state', state.device, torch.device('cpu'))
    check('RNG state', state.dtype, torch.uint8)


real_set_rng_state = torch.set_rng_state


def set_cpu_rng_state(state: Tensor) -> None:
    """In place of ``torch.set_rng_state``; a state that was saved in pretence has no values."""
    (set_rng_state if isinstance(state, FakeTensor) else real_set_rng_state)(state)


def get_rng_state(device: Any = 0) -> Tensor:
    return torch.zeros(16, dtype=torch.uint8)


def numpy(tensor: Tensor) -> np.ndarray:
    """In place of ``Tensor.numpy``: zeros."""
    check('tensor for NumPy', tensor.device, torch.device('cpu'))
    return np.zeros(tensor.shape, str(tensor.dtype).removeprefix('torch.'))


@contextmanager
def fake_cuda() -> Iterator[Waits]:
    """In the block there is one GPU, and all tensors are fake."""
    waits = Waits()
    answers: dict[str, Any] = {
        'is_available': lambda: True,
        'is_initialized': lambda: True,
        'current_device': lambda: 0,
        'device_count': lambda: 1,
        'synchronize': lambda *_: None,
        'empty_cache': lambda: None,
        'get_rng_state': get_rng_state,
        'set_rng_state': set_rng_state,
        'manual_seed': lambda seed: None,
        'manual_seed_all': lambda seed: None,
        'is_bf16_supported': lambda *_, **__: True,
        'Stream': lambda *_: mock.MagicMock(),
        'stream': lambda *_: nullcontext(),
        'current_stream': lambda *_: mock.MagicMock(),
        'get_device_capability': lambda *_: (9, 0),
    }
    with (
        mock.patch.object(FakeTensorMode, 'avoid_device_init', True),
        FakeTensorMode(allow_non_fake_inputs=True),  # constants that BasicSR makes as it is imported
        mock.patch.multiple(torch.cuda, **answers),
        mock.patch.object(torch, 'set_rng_state', set_cpu_rng_state),
        mock.patch.object(nn.Module, '_apply', apply),
        mock.patch.object(Tensor, 'backward', backward),
        mock.patch.object(Tensor, 'numpy', numpy),
        mock.patch.object(Tensor, 'record_stream', lambda tensor, _: waits.recorded.append(tensor)),
        mock.patch.object(torch.autograd, 'grad', grad),
        mock.patch.object(bicubic, '_matrix', inspect.unwrap(bicubic._matrix)),  # not kept for another test
        torch.serialization.skip_data(materialize_fake_tensors=True),
        waits,
    ):
        yield waits
