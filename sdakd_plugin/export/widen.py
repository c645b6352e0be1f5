"""RRDBNet for spandrel, which takes every RRDBNet to have 32 channels of growth."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

GROWTH = 32  # spandrel 0.4.2 reads all other sizes off the weights


def widen(state: Mapping[str, Tensor], network: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Fill the dense blocks up to 32 channels of growth with channels that are zero and have no effect.

    The network computes the same; only the file grows, by up to a factor of 2.3 for a student of half the channels.

    Args:
        state: tensors of an RRDBNet by name.
        network: its option block; a ``num_grow_ch`` of 32 or more is left as it is.

    Returns:
        The tensors and the option block of the wider network.
    """
    grow, num_feat = network['num_grow_ch'], network['num_feat']
    if grow >= GROWTH:
        return dict(state), dict(network)
    # a dense block's layer reads num_feat channels, and then those that each layer before it has grown
    reads = [*range(num_feat), *(num_feat + layer * GROWTH + channel for layer in range(4) for channel in range(grow))]
    wide = {}
    for key, tensor in state.items():
        if '.rdb' not in key:
            wide[key] = tensor
            continue
        num_out = GROWTH if '.conv5.' not in key else num_feat
        if key.endswith('.bias'):
            wide[key] = tensor.new_zeros(num_out)
            wide[key][:len(tensor)] = tensor
        else:
            before = (tensor.shape[1] - num_feat) // grow  # layers whose growth it reads
            wide[key] = tensor.new_zeros(num_out, num_feat + before * GROWTH, *tensor.shape[2:])
            wide[key][:len(tensor), torch.tensor(reads[:tensor.shape[1]])] = tensor
    return wide, {**network, 'num_grow_ch': GROWTH}
