"""Groups of channels that must be slimmed together.

Channels that are added to one another, or that one layer writes and another reads, form a *group*: slimming must keep
the same channels of a group everywhere. A group is named after the layer that writes it, except ``'trunk'``, the
residual stream to which many layers write.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Layer(NamedTuple):
    """The groups along the two channel axes of a layer's weight; those of ``reads`` are concatenated in this order.

    A layer without ``reads`` has one value per channel, such as BatchNorm.
    """

    writes: str
    reads: tuple[str, ...] = ()


Wiring = dict[str, Layer]  # by layer name; tensors of layers that are not listed do not depend on the width


def chain(source: str, *layers: str) -> Wiring:
    """A sequence of layers that reads the group ``source``; each layer writes a group of its own."""
    return {layer: Layer(layer, (before,)) for before, layer in pairwise((source, *layers))}
