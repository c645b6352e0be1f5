"""The frozen networks of a distillation: in evaluation mode, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.utils.random_state import undisturbed_rng

UNTRAINED = 'untrained'  # in place of a file


class Frozen(NamedTuple):
    """A frozen network. Attributes: net; network, its option block, either the given one or what its weights say."""

    net: nn.Module
    network: Mapping[str, Any]


def load_frozen(network: Mapping[str, Any] | None, source: str, param_key: str | None, label: str) -> Frozen:
    """Build a teacher's network, load its weights, and freeze it.

    Args:
        network: the option block ``teacher.network_<label>``; ``None``: the network is identified by its weights.
        source: a weight file, one of ``weights.KNOWN``, or ``'untrained'``.
        param_key: the key of the state dict in the file; ``None``: the usual ones.
        label: ``'g'`` or ``'d'``.

    Raises:
        UserError: the weights cannot be read or do not fit the network, or the network cannot be identified.
    """
    role = f'teacher.pretrain_network_{label}'
    if source == UNTRAINED:
        return untrained(network, label)
    path, state = weights.load(source, role, param_key)
    if network is None:
        found = weights.identify(state)
        if found is None:
            raise UserError(
                f'teacher.network_{label}: this key is missing, and the architecture cannot be identified from {path}'
            )
        network = found.network
    with undisturbed_rng():
        net = build_network(network, f'teacher.network_{label}')
    weights.load_into(net, state, path, role)
    return Frozen(net.eval().requires_grad_(False), network)


def untrained(network: Mapping[str, Any] | None, label: str) -> Frozen:
    """``teacher.network_<label>`` with random weights, which are the same each time.

    Raises:
        UserError: ``network`` is ``None``.
    """
    if network is None:
        raise UserError(f"teacher.network_{label}: this key is missing; '{UNTRAINED}' does not tell the architecture")
    with undisturbed_rng():
        torch.manual_seed(0)
        net = build_network(network, f'teacher.network_{label}')
    get_root_logger().warning(f'teacher.network_{label} is untrained: what it teaches is worth nothing.')
    return Frozen(net.eval().requires_grad_(False), network)
