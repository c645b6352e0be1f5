"""What a family of networks states about itself. A plain ``net(lq)`` of images 0..1 needs no more than its names."""

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
    """Call a network that turns an LQ image into an SR image, both in 0..1, and has one scale."""
    sr: Tensor = net(lq)
    return sr


@dataclass(frozen=True)
class Export:
    """How generators of a family reach other programs.

    Args:
        rewrite: the generator, not wrapped, to one with the same ``net(lq)`` in operators that exporters know;
            ``None`` where it has no others, or gives it up to ``Family.call``.
        multiple_of: the number whose multiples height and width of the input must be.
        size_hint: for a network whose input size must be fixed, what to say to who did not; else ``None``.
        onnx_half: whether ONNX in half precision is possible.
        onnx_constants: whether PyTorch's exporter to ONNX must be given a graph whose sizes are all constants.
        for_spandrel: tensors and option block to those of a network that spandrel loads and that computes the same;
            ``None`` where spandrel loads all of the family, or none.
    """

    rewrite: Callable[[Any], nn.Module | None] = lambda net: None
    multiple_of: Callable[[Any], int] = lambda net: 1
    size_hint: Callable[[Any], str | None] = lambda net: None
    onnx_half: bool = True
    onnx_constants: bool = False
    for_spandrel: Callable[[State, Network], tuple[dict[str, Tensor], dict[str, Any]]] | None = None


@dataclass(frozen=True)
class Family:
    """Networks that are recognised, slimmed, called, tapped and exported alike.

    The functions take a network that is not wrapped, but for ``call``, which must call the distributed wrapper.

    Args:
        names: the class names of its networks, which are their ``type`` in an option file.
        recognise: from the shapes of a state dict to the network that it should be and all tensors that such a network
            has. May raise what a missing name or an odd number raises. ``None``: its weights do not tell.
        wire: the groups of its channels, for slimming; ``None``: its students cannot start from their teacher.
        step: how many entries of ``body``, if it has one, make a block.
        blocks: the names of its blocks in the order in which an image passes them; by default those of ``body``.
        call: ``(net, lq, lq_scale)`` to the SR image; see ``calling.super_resolve``.
        largest_scale: the largest scale of a network that takes several; ``None`` for a network of one scale.
        as_input: for a discriminator, images of 0..1 to the range that it was made for.
        check_lq: ``(option block, width, height, scales)`` of an LQ image file to what is wrong with it, or ``None``;
            by default nothing is.
        export: see ``Export``.
    """

    names: Sequence[str]
    recognise: Callable[[Shapes], tuple[Identity, Shapes]] | None = None
    wire: Callable[[Any], Wiring] | None = None
    step: int = 1
    blocks: Callable[[Any], list[str]] | None = None
    call: Callable[[nn.Module, Tensor, Tensor | None], Tensor] = plain_call
    largest_scale: Callable[[Any], int | None] = lambda net: None
    as_input: Callable[[Tensor], Tensor] = lambda images: images
    check_lq: Callable[[Network, int, int, Sequence[int] | None], str | None] | None = None
    export: Export = field(default_factory=Export)


def unwrap(net: nn.Module) -> nn.Module:
    """The network inside a distributed wrapper."""
    return net.module if isinstance(net, (DataParallel, DistributedDataParallel)) else net
