"""Networks that are loaded for good: in evaluation mode, without gradients."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.utils.build import build_network
from sdakd_plugin.utils.random_state import undisturbed_rng

UNTRAINED = 'untrained'  # in place of a file


def load_frozen(network: Mapping[str, Any] | None, source: str, param_key: str | None, label: str) -> nn.Module:
    """Build ``teacher.network_<label>``, or what the weights say it is, and load it for good."""
    role = f'teacher.pretrain_network_{label}'
    if source == UNTRAINED:
        return untrained(network, label)
    path, state = weights.load(source, role, param_key)
    if network is None:
        found = weights.identify(state)
        if found is None:
            raise UserError(f'teacher.network_{label}: this key is missing, and {path} does not tell its architecture')
        network = found.network
    with undisturbed_rng():
        net = build_network(network, f'teacher.network_{label}')
    weights.load_into(net, state, path, role)
    return net.eval().requires_grad_(False)


def untrained(network: Mapping[str, Any] | None, label: str) -> nn.Module:
    """``teacher.network_<label>`` with random weights, the same each time."""
    if network is None:
        raise UserError(f"teacher.network_{label}: this key is missing; '{UNTRAINED}' does not tell the architecture")
    with undisturbed_rng():
        torch.manual_seed(0)
        net = build_network(network, f'teacher.network_{label}')
    get_root_logger().warning(f'teacher.network_{label} is untrained: what it teaches is worth nothing.')
    return net.eval().requires_grad_(False)
