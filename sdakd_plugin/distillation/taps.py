"""Captures intermediate features of any network by module path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError, nearest


class _AllCaptured(Exception):
    pass


class TapError(UserError):
    """A layer that cannot be tapped."""


class Taps:
    """Captures the outputs of named modules during one forward pass.

    ::

        with Taps(net, ['body.5', 'body.11']) as taps:
            sr = net(lq)
        taps.features['body.5']

    A feature is the output of the module with its gradient graph, in float32 also under autocast. It is a copy, because
    the next layer may work in place (``LeakyReLU(inplace=True)``), which would change the feature, except in passes
    that ``stop`` ends before that layer.

    Args:
        net: the network, not wrapped for distributed training.
        layers: module paths as in ``net.named_modules()``.
        stop: end the forward pass after the last captured layer. The ``with`` block is then left without an error, and
            the output of the network is not assigned.

    Raises:
        TapError: a layer does not exist, returns something other than a tensor, runs several times or not at all.
    """

    def __init__(self, net: nn.Module, layers: Iterable[str], stop: bool = False) -> None:
        self.layers = tuple(dict.fromkeys(layers))
        self.features: dict[str, Tensor] = {}
        self.net, self.stop = net, stop and bool(self.layers)
        check_layers(net, self.layers)

    def __enter__(self) -> Taps:
        self._handles = [self.net.get_submodule(name).register_forward_hook(self._hook(name)) for name in self.layers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        for handle in self._handles:
            handle.remove()
        if kind is None:
            for name in self.layers:
                if name not in self.features:
                    raise TapError(f"layer '{name}' of {type(self.net).__name__} never runs; name another one")
        return kind is _AllCaptured

    def _hook(self, name: str) -> Any:
        def capture(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise TapError(
                    f"layer '{name}' of {type(self.net).__name__} returns a {type(output).__name__}, "
                    'not a tensor; name a layer inside it'
                )
            if name in self.features:
                raise TapError(
                    f"layer '{name}' of {type(self.net).__name__} runs several times in one pass, so its "
                    'feature is ambiguous; name a layer that runs once'
                )
            self.features[name] = output.to(torch.promote_types(output.dtype, torch.float32), copy=True)
            if self.stop and len(self.features) == len(self.layers):
                raise _AllCaptured

        return capture


def check_layers(net: nn.Module, layers: Iterable[str], key: str = 'layers') -> None:
    """Raise a TapError that suggests the closest names if ``net`` lacks one of ``layers``."""
    modules = dict(net.named_modules())
    for name in layers:
        if name not in modules or name == '':
            raise TapError(f"{key}: {type(net).__name__} has no layer '{name}'" + _remedy(name, modules))


def _remedy(name: str, modules: Mapping[str, nn.Module]) -> str:
    """The remedy in an error message; an index after the end of a list has no closest name."""
    container, _, index = name.rpartition('.')
    entries = modules.get(container)
    if index.isdigit() and isinstance(entries, nn.ModuleList | nn.Sequential) and len(entries):
        last = f'{container}.{len(entries) - 1}'
        return f"; its last one is '{last}'; layers: 4 selects four depths of each network's own blocks"
    return nearest(name, filter(None, modules))
