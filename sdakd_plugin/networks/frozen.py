"""Loads frozen networks, in evaluation mode and without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.identity import Kind
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.networks.identified import load_kind
from sdakd_plugin.utils.random_state import undisturbed_rng
from sdakd_plugin.weights.catalogue import where

KINDS: dict[str, Kind] = {'g': 'generator', 'd': 'discriminator'}
UNTRAINED = 'untrained'  # in place of a file


class Frozen(NamedTuple):
    """A frozen network. Attributes: net; network, its option block, which is given or identified from the weights."""

    net: nn.Module
    network: Mapping[str, Any]


def load_frozen(network: Mapping[str, Any] | None, source: str, param_key: str | None, label: str) -> Frozen:
    """Build a teacher's network, load its weights, and freeze it.

    Args:
        network: the option block ``teacher.network_<label>``; ``None`` to identify the network from its weights.
        source: a weight file, a name in ``weights.KNOWN``, or ``'untrained'``.
        param_key: the key of the state dict in the file; ``None`` for the common ones.
        label: ``'g'`` or ``'d'``.

    Raises:
        UserError: the weights cannot be read or do not fit the network, or the network cannot be identified.
    """
    role = f'teacher.pretrain_network_{label}'
    if source == UNTRAINED:
        return untrained(network, label)
    path, state = weights.load(source, role, param_key)
    with undisturbed_rng():
        if network is None:
            remedy = f'describe it in teacher.network_{label}'
            net, identity = load_kind(state, path, role, KINDS[label], remedy)
            network = identity.network
        else:
            net = build_network(network, f'teacher.network_{label}')
            weights.load_into(net, state, path, role)
    return Frozen(net.eval().requires_grad_(False), network)


def untrained(network: Mapping[str, Any] | None, label: str) -> Frozen:
    """Build ``teacher.network_<label>`` with random weights from a fixed seed.

    Raises:
        UserError: ``network`` is ``None``.
    """
    if network is None:
        raise UserError(
            f"teacher.network_{label}: this key is missing; '{UNTRAINED}' does not specify the architecture"
        )
    with undisturbed_rng():
        torch.manual_seed(0)
        net = build_network(network, f'teacher.network_{label}')
    get_root_logger().warning(
        f'teacher.network_{label} is untrained: the student cannot learn anything useful from it.'
    )
    return Frozen(net.eval().requires_grad_(False), network)


def weights_are_local(source: str) -> bool:
    """Whether the weights that ``pretrain_network_g`` names are on this machine."""
    known = weights.KNOWN.get(source)
    return (
        source == UNTRAINED or Path(source).expanduser().is_file() or (known is not None and where(known) != known.url)
    )
