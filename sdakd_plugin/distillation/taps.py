"""Captures intermediate features of any network by module path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.families.calling import padded

Size = tuple[int, int]  # height and width


class _AllCaptured(Exception):
    pass


class TapError(UserError):
    """A layer that cannot be tapped."""


class NoMapError(TapError):
    """A layer whose output is no map. Attribute: layer, its name."""

    def __init__(self, layer: str, message: str) -> None:
        super().__init__(message)
        self.layer = layer


class Taps:
    """Captures the outputs of named modules during one forward pass.

    ::

        with Taps(net, ['body.5', 'body.11']) as taps:
            sr = net(lq)
        taps.features['body.5']

    A feature is the output of the module with its gradient graph, in float32 also under autocast: a map (n, c, h, w) or
    a vector (n, c). Tokens (n, h w, c) of a transformer become a map if the module is given (h, w) as an argument, as
    the blocks of SwinIR, HAT and DAT are; others are refused, since their order is not known. It is a copy, because
    the next layer may work in place (``LeakyReLU(inplace=True)``), which would change the feature, except in passes
    that ``stop`` ends before that layer.

    Args:
        net: the network, not wrapped for distributed training.
        layers: module paths as in ``net.named_modules()``.
        stop: end the forward pass after the last captured layer. The ``with`` block is then left without an error, and
            the output of the network is not assigned.
        images: what the network is called with; maps of images that it pads are cropped to the images.

    Raises:
        TapError: a layer does not exist, returns something other than a map, a vector or such tokens, runs several
            times or not at all.
    """

    def __init__(self, net: nn.Module, layers: Iterable[str], stop: bool = False, images: Tensor | None = None) -> None:
        self.layers = tuple(dict.fromkeys(layers))
        self.features: dict[str, Tensor] = {}
        self.net, self.stop = net, stop and bool(self.layers)
        check_layers(net, self.layers)
        self.sizes: list[Size] = []  # of the images and inside the network, if it pads them
        if images is not None and self.layers:
            size = (images.shape[-2], images.shape[-1])
            inside = padded(net, *size)
            self.sizes = [size, inside] if inside != size else []

    def __enter__(self) -> Taps:
        self._handles = [
            self.net.get_submodule(name).register_forward_hook(self._hook(name), with_kwargs=True)
            for name in self.layers
        ]
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
        def capture(module: nn.Module, inputs: tuple[Any, ...], more: dict[str, Any], output: Any) -> None:
            if not isinstance(output, Tensor):
                raise TapError(
                    f"layer '{name}' of {type(self.net).__name__} returns a {type(output).__name__}, "
                    'not a tensor; name a layer inside it'
                )
            output = as_map(output, (*inputs, *more.values()))
            if output is None:
                raise NoMapError(name, f"layer '{name}' of {type(self.net).__name__} returns no map (n, c, h, w)")
            if name in self.features:
                raise TapError(
                    f"layer '{name}' of {type(self.net).__name__} runs several times in one pass, so its "
                    'feature is ambiguous; name a layer that runs once'
                )
            if self.sizes and output.dim() == 4:
                output = cropped(output, *self.sizes)
            self.features[name] = output.to(torch.promote_types(output.dtype, torch.float32), copy=True)
            if self.stop and len(self.features) == len(self.layers):
                raise _AllCaptured

        return capture


def cropped(feature: Tensor, size: Size, padded_size: Size) -> Tensor:
    """The part of a map (n, c, h, w) that shows an image of ``size``, which was padded at the lower and right edge to
    ``padded_size``. A map that cannot be divided so is returned as it is."""
    sides = [divmod(side * kept, whole) for side, kept, whole in zip(feature.shape[2:], size, padded_size, strict=True)]
    return feature if any(rest for _, rest in sides) else feature[..., : sides[0][0], : sides[1][0]]


def as_map(output: Tensor, inputs: Iterable[Any]) -> Tensor | None:
    """The output of a module as a map (n, c, h, w) or a vector (n, c); ``None`` if it is neither.

    Args:
        output: what the module returned; tokens (n, h w, c) are reshaped if an input is the pair (h, w).
        inputs: what the module was called with.
    """
    if output.dim() in (2, 4):
        return output
    for grid in inputs:
        if (
            output.dim() == 3
            and isinstance(grid, tuple | list)
            and len(grid) == 2
            and all(isinstance(side, int) for side in grid)
            and prod(grid) == output.shape[1]
        ):
            return output.transpose(1, 2).unflatten(2, tuple(grid))
    return None


def next_with_map(net: nn.Module, run: Callable[[], object], layer: str) -> str | None:
    """The layer that runs once and returns a map (n, c, h, w) first after ``layer``, or else last before, or ``None``.

    Args:
        net: the network.
        run: runs the network once.
        layer: the layer that cannot be tapped.
    """
    ended: dict[str, bool] = {}  # in the order in which they ended: whether they run once and return a map

    def hook(name: str) -> Any:
        def end(module: nn.Module, inputs: tuple[Any, ...], more: dict[str, Any], output: Any) -> None:
            shaped = as_map(output, (*inputs, *more.values())) if isinstance(output, Tensor) else None
            ended[name] = name not in ended and shaped is not None and shaped.dim() == 4

        return end

    handles = [
        module.register_forward_hook(hook(name), with_kwargs=True) for name, module in net.named_modules() if name
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    names = list(ended)
    place = names.index(layer)
    return next((name for name in [*names[place:], *names[place::-1]] if ended[name]), None)


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
