"""Which channels of a network belong together.

Channels that are added to one another, or that one layer writes and another reads, form a *group*: whoever keeps some
of a group must keep the same ones everywhere. A group is named after the layer that writes it, but for ``'trunk'``, the
residual stream to which many write.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Layer(NamedTuple):
    """The groups along the two channel axes of a layer's weight; those of ``reads`` are concatenated in this order. A
    layer without ``reads`` has a number for each channel, as BatchNorm."""

    writes: str
    reads: tuple[str, ...] = ()


Wiring = dict[str, Layer]  # by the layer's name; the tensors of other layers do not depend on the width


def chain(source: str, *layers: str) -> Wiring:
    """Layers in a row that begins with the group ``source``, each with a group of its own."""
    return {layer: Layer(layer, (before,)) for before, layer in pairwise((source, *layers))}
