"""The learnt ranges in a checkpoint: the entry ``quantization`` beside ``params`` and ``params_ema``.

Other programs read ``params`` or ``params_ema`` and do not look at it. It has the number of bits and, for each network
of the file, by layer a tensor (2, 2): ``low`` and ``high`` of the input and of the result of that convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.networks import fake_quantization
from sdakd_plugin.weights.files import KEYS, read_entry

ENTRY = 'quantization'
SIGNS = torch.tensor([-1.0, 1.0])


@dataclass(frozen=True)
class LearntRanges:
    """Attributes: bits, by_layer (see above)."""

    bits: int
    by_layer: dict[str, Tensor]

    def simulate(self, net: nn.Module) -> nn.Module:
        """Put the fake quantisation with these ranges into a network, in place.

        Raises:
            UserError: the network has other layers.
        """
        fake_quantization.insert(net, self.bits, ENTRY)
        found = fake_quantization.layers(net)
        if found.keys() != self.by_layer.keys():
            raise UserError(f'{ENTRY}: the ranges in the file are of the layers of another network')
        fake_quantization.activate(net, {name: (values * SIGNS).log() for name, values in self.by_layer.items()})
        return net


def entry(nets: Mapping[str, nn.Module], bits: int) -> dict[str, Any]:
    """What a checkpoint stores.

    Args:
        nets: networks with active fake quantisation, not wrapped, by key in the file.
        bits: of weights and inputs.
    """
    by_net = {
        key: {name: values.cpu().exp() * SIGNS for name, values in fake_quantization.ends(net).items()}
        for key, net in nets.items()
    }
    return {ENTRY: {'bits': bits, **by_net}}


def read(path: Path) -> LearntRanges | None:
    """The ranges of the network that ``weights.load_state_dict`` takes from a file; ``None`` if there are none.

    Raises:
        UserError: they are damaged.
    """
    stored = read_entry(path, ENTRY)
    if stored is None:
        return None
    try:
        by_layer = next(stored[key] for key in KEYS if key in stored)
        found = LearntRanges(int(stored['bits']), {name: values.float() for name, values in by_layer.items()})
        whole = all(
            values.shape == (2, 2) and bool((values * SIGNS > 0).all()) and bool(values.isfinite().all())
            for values in found.by_layer.values()
        )
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError):
        whole = False
    if not whole:
        raise UserError(f'{path}: the entry {ENTRY} is damaged; copy the file again, or remove the entry')
    return found
