"""The declaration of a family of networks.

A family whose networks are called as ``net(lq)`` with images in 0..1 needs only its names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.shapes import Shapes
from sdakd_plugin.families.wiring import Wiring

State = Mapping[str, Tensor]
Network = Mapping[str, Any]  # an option block


def plain_call(net: nn.Module, lq: Tensor, lq_scale: Tensor | None) -> Tensor:
    """Call a network of one scale that turns an LQ image into an SR image, both in 0..1."""
    sr: Tensor = net(lq)
    return sr


@dataclass(frozen=True)
class Export:
    """How generators of a family are exported to other programs.

    Args:
        rewrite: returns, for a generator that is not wrapped, a module with the same ``net(lq)`` in operators that
            exporters support; ``None`` if the generator needs no rewriting, or is exported through ``Family.call``.
        multiple_of: returns the number of which height and width of the input must be multiples.
        size_hint: returns the message for a network whose input size must be fixed but is not; otherwise ``None``.
        onnx_half: whether ONNX in half precision is supported.
        onnx_constants: whether PyTorch's exporter to ONNX needs a graph in which all sizes are constants.
        for_spandrel: converts tensors and option block to those of an equivalent network that spandrel can load;
            ``None`` if spandrel loads all networks of the family, or none.
    """

    rewrite: Callable[[Any], nn.Module | None] = lambda net: None
    multiple_of: Callable[[Any], int] = lambda net: 1
    size_hint: Callable[[Any], str | None] = lambda net: None
    onnx_half: bool = True
    onnx_constants: bool = False
    for_spandrel: Callable[[State, Network], tuple[dict[str, Tensor], dict[str, Any]]] | None = None


@dataclass(frozen=True)
class Family:
    """Networks that are recognised, slimmed, called, tapped and exported in the same way.

    The functions take a network that is not wrapped, except ``call``, which must call the distributed wrapper.

    Args:
        names: the class names of its networks, which are their ``type`` in an option file.
        recognise: returns, for the shapes of a state dict, the network that they suggest and all tensors of such a
            network. May raise KeyError, IndexError, ValueError or ArithmeticError for other state dicts. ``None`` if
            networks cannot be recognised by their weights.
        wire: returns the wiring of its channels, for slimming; ``None`` if students cannot start from their teacher.
        step: the number of entries of ``body`` that form a block.
        blocks: returns the names of its blocks in forward order; by default those of ``body``.
        call: returns the SR image for ``(net, lq, lq_scale)``; see ``calling.super_resolve``.
        fold: returns a copy in which layers that are several only in training are one, as other programs should get it;
            the network itself if there are none, or if they are folded.
        unfold: returns the tensors of a network, from ``(network, tensors of the folded one)``; by default the latter.
        padded: returns the height and the width of the image inside the network, from ``(net, height, width)`` of the
            image that it is called with: these are different if it is padded at the lower and right edge.
        largest_scale: returns the largest scale of a network that supports several; ``None`` for one scale.
        as_input: for a discriminator, converts images in 0..1 to the range that it expects.
        check_lq: returns what is wrong with an LQ image, from ``(option block, width, height, scales)``, or ``None``;
            by default nothing is checked.
        export: see ``Export``.
    """

    names: Sequence[str]
    recognise: Callable[[Shapes], tuple[Identity, Shapes]] | None = None
    wire: Callable[[Any], Wiring] | None = None
    step: int = 1
    blocks: Callable[[Any], list[str]] | None = None
    call: Callable[[nn.Module, Tensor, Tensor | None], Tensor] = plain_call
    fold: Callable[[Any], nn.Module] = lambda net: net
    unfold: Callable[[Any, State], dict[str, Tensor]] = lambda net, folded: dict(folded)
    padded: Callable[[Any, int, int], tuple[int, int]] = lambda net, height, width: (height, width)
    largest_scale: Callable[[Any], int | None] = lambda net: None
    as_input: Callable[[Tensor], Tensor] = lambda images: images
    check_lq: Callable[[Network, int, int, Sequence[int] | None], str | None] | None = None
    export: Export = field(default_factory=Export)


def unwrap(net: nn.Module) -> nn.Module:
    """The network without its distributed wrapper, if it has one."""
    return net.module if isinstance(net, (DataParallel, DistributedDataParallel)) else net
