"""A GPU in pretence: fake tensors have shapes, types and devices but no values, so ``cuda`` needs no GPU.

A tensor on the wrong device fails with both devices named, and reading a value raises ``DataDependentOutputException``.
The autograd engine requires a real device; instead, ``backward`` checks the loss and gives zero gradients to what the
graph of the loss reaches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sdakd_plugin.distillation.balance import Balance
from sdakd_plugin.networks.fake_quantization import ends

CUDA = torch.device('cuda', 0)
# the chance loss, and the learnt ranges as quantisation begins
ONCE = {Balance.__init__.__code__, ends.__code__}
READ, COPY = torch.ops.aten._local_scalar_dense.default, torch.ops.aten._to_copy.default


class Waits(TorchDispatchMode):
    """Fails where the host would wait for the GPU, and where a generator is of another device than its numbers.

    Fake tensors notice neither a copy to the CPU nor the generator. A CPU tensor may be read; the answer is 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.allowed = False  # whether the host may wait, as in saving

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is READ and (self.allowed or args[0].device.type == 'cpu' or allowed_here()):
            return bool(1) if args[0].dtype is torch.bool else 1.0 if args[0].dtype.is_floating_point else 1
        if function is COPY:
            args[0].constant = None  # a known value would be copied to a real GPU
        result = function(*args, **kwargs)
        if kwargs.get('generator') is not None:
            check('generator', kwargs['generator'].device, result.device)
        if function is COPY and args[0].device.type == 'cuda' and not (self.allowed or allowed_here()):
            check('copy that waits', result.device, CUDA)
        return result


def allowed_here() -> bool:
    """Whether the host may wait in a function that is being called: once at the start."""
    frame = sys._getframe()
    while frame is not None and frame.f_code not in ONCE:
        frame = frame.f_back
    return frame is not None


def check(what: str, found: torch.device | torch.dtype, expected: torch.device | torch.dtype) -> None:
    """Raise a RuntimeError that names both, if they differ; of devices, the index does not matter."""
    if getattr(found, 'type', found) != getattr(expected, 'type', expected):
        raise RuntimeError(f'{what}: is {found}, expected {expected}')


def leaves(*tensors: Tensor) -> list[Tensor]:
    """The tensors that the backward pass of these tensors would give a gradient."""
    waiting, seen, found = [tensor.grad_fn for tensor in tensors], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            found.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return found


@torch.no_grad()
def backward(loss: Tensor, *_: Any, **__: Any) -> None:
    """In place of ``Tensor.backward``."""
    check('loss', loss.device, CUDA)
    check('loss', loss.dtype, torch.float32)
    reached = leaves(loss)
    if not reached:
        raise RuntimeError('loss: does not require a gradient')
    for leaf in reached:
        check('parameter', leaf.device, CUDA)
        if leaf.grad is None:
            leaf.grad = torch.zeros_like(leaf)


def grad(outputs: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    """In place of ``torch.autograd.grad``; the gradients depend on the outputs, for a second backward pass."""
    outputs, inputs = (value if isinstance(value, (list, tuple)) else [value] for value in (outputs, inputs))
    for value in (*outputs, *inputs):
        check('gradient', value.device, CUDA)
    total = sum(output.sum() for output in outputs)
    return tuple(torch.zeros_like(value) + 0 * total for value in inputs)


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


def get_rng_state(device: Any = 0) -> Tensor:
    return torch.zeros(16, dtype=torch.uint8)


@contextmanager
def fake_cuda() -> Iterator[Waits]:
    """In the block there is one GPU, and all tensors are fake."""
    answers: dict[str, Any] = {
        'is_available': lambda: True,
        'is_initialized': lambda: True,
        'current_device': lambda: 0,
        'device_count': lambda: 1,
        'synchronize': lambda *_: None,
        'get_rng_state': get_rng_state,
        'get_rng_state_all': lambda: [get_rng_state()],
        'set_rng_state': set_rng_state,
        'manual_seed': lambda seed: None,
        'manual_seed_all': lambda seed: None,
        'is_bf16_supported': lambda *_: True,
    }
    with (
        FakeTensorMode(),  # before CUDA seems available, since it would start it
        mock.patch.multiple(torch.cuda, **answers),
        mock.patch.object(nn.Module, '_apply', apply),
        mock.patch.object(Tensor, 'backward', backward),
        mock.patch.object(torch.autograd, 'grad', grad),
        Waits() as waits,
    ):
        yield waits
