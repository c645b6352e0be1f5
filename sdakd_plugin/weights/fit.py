"""Loads weights into a network, with one-line errors if they do not fit."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families import spandrel
from sdakd_plugin.families.registry import identify


def load_into(
    net: nn.Module, state: Mapping[str, Tensor], source: str | os.PathLike[str], role: str, strict: bool = True
) -> None:
    """Load a state dict into a network; the network is unchanged if that fails.

    Args:
        net: the network, not wrapped.
        state: tensors by name.
        source: where the weights come from, for messages.
        role: the option that names them, such as ``'path.pretrain_network_g'``; every message begins with it.
        strict: whether all names and shapes must match. Otherwise, as in BasicSR, matching tensors are loaded and the
            rest is logged.

    Raises:
        UserError: the weights are not finite or belong to another network or, with ``strict=False``, none of them
            matches.
    """
    check_finite(state, source, role)
    own = net.state_dict()
    differences = _differences(state, own)
    if not differences:
        net.load_state_dict(state)
        return
    text = f'{role}: {_who(state, own, net, source)}: {_shortly(differences)}'
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if strict or not fitting:
        raise UserError(text)
    logging.getLogger('basicsr').warning(f'{text}; {len(fitting)} of {len(own)} tensors are loaded')
    net.load_state_dict(fitting, strict=False)


def check_finite(state: Mapping[str, Tensor], source: str | os.PathLike[str], role: str) -> None:
    """Raise a UserError if a value is NaN or infinite; arguments as for ``load_into``."""
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(
                f'{role}: {key} in {source} holds NaN or infinite values; '
                'take weights from before the training diverged'
            )


def _differences(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """A description of each tensor that differs, in the order of the network."""
    found = []
    for key, value in own.items():
        if key not in state:
            if not key.endswith('num_batches_tracked'):  # files older than torch 0.4.1 lack it; torch supplies it
                found.append(f'{key} is missing in the file')
        elif state[key].shape != value.shape:
            found.append(f'{key} is {_size(state[key])} in the file and {_size(value)} in the network')
    return found + [f'{key} is in the file only' for key in state if key not in own]


def _who(state: Mapping[str, Tensor], own: Mapping[str, Tensor], net: nn.Module, source: object) -> str:
    """The network of the file and the network that should load it, for the message."""
    file, network = identify(state), identify(own)
    name = str(network or type(net).__name__)
    if file is None:
        other = spandrel.architecture(state) if state.keys() - own.keys() else None  # names of its own
        return f'{source} {f"is of {other}, which does" if other else "does"} not fit network {name}'
    if network is None:
        return f'{source} holds a {file.kind}, {file}, which does not fit network {name}'
    if file.kind != network.kind:
        return f'{source} holds a {file.kind}, {file}, but the weights of a {network.kind} are needed here, {name}'
    if file.scale != network.scale:
        return f'{source} holds an x{file.scale} generator, {file}, but an x{network.scale} one is needed here, {name}'
    return f'{source} holds {file}, which does not fit network {name}'


def _shortly(differences: list[str]) -> str:
    more = len(differences) - 1
    return differences[0] + (f' (and {more} more difference{"s" if more > 1 else ""})' if more else '')


def _size(tensor: Tensor) -> str:
    return 'x'.join(map(str, tensor.shape)) or 'a single number'
