"""Builds the network that weights belong to, of the plugin's families or, through spandrel, of other projects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from torch import Tensor, nn

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.families import spandrel
from sdakd_plugin.families.identity import Kind
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.weights.fit import check_finite


class Identified(NamedTuple):
    """A network with its weights. Attributes: net; identity, with its option block."""

    net: nn.Module
    identity: weights.Identity


def load_identified(state: Mapping[str, Tensor], source: str | os.PathLike[str], role: str) -> Identified | None:
    """Build the network of a state dict and load it; ``None`` if the architecture is unknown.

    Args:
        state: tensors by name.
        source: where they come from, for messages.
        role: the option that names them; every message begins with it.

    Raises:
        UserError: the values are not finite, or the tensors look like those of a network that they do not fit.
    """
    identity = weights.identify(state)
    if identity is not None:
        net = build_network(identity.network, role)
        weights.load_into(net, state, source, role)
        return Identified(net, identity)
    check_finite(state, source, role)
    found = spandrel.load(state, source, role)
    return None if found is None else Identified(*found)


def load_kind(
    state: Mapping[str, Tensor], source: str | os.PathLike[str], role: str, kind: Kind, remedy: str = ''
) -> Identified:
    """As ``load_identified``, for a network that must be of a known architecture and of a kind.

    Args:
        state, source, role: see ``load_identified``.
        kind: what is expected.
        remedy: what to do about an unknown architecture, for the message.

    Raises:
        UserError: also if the architecture is unknown or of another kind.
    """
    found = load_identified(state, source, role)
    if found is None:
        first = ', '.join(islice(state, 3))
        raise UserError(
            f'{role}: neither sdakd_plugin nor spandrel knows the architecture of {source}, which begins with {first}'
            + (f'; {remedy}' if remedy else '')
        )
    if found.identity.kind != kind:
        raise UserError(f'{role}: {source} is a {found.identity.kind}, {found.identity}; expected a {kind}')
    return found
