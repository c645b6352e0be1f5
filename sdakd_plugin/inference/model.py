"""Loads a generator from a weight file, by which its network is identified."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from sdakd_plugin import weights
from sdakd_plugin.families.calling import folded
from sdakd_plugin.networks.identified import load_kind


@dataclass(frozen=True)
class Model:
    """Attributes: name (the file's, or the known one), path, identity (options and scale), state (its tensors, on the
    CPU), and net, folded, in evaluation mode and without gradients; call it through ``families.calling``. Where a
    backend runs the network: run, a module called as net. Where net cannot tell: bytes_per_pixel, what a pass needs for
    each pixel of an image."""

    name: str
    path: Path
    identity: weights.Identity
    state: dict[str, Tensor]
    net: nn.Module
    run: nn.Module | None = None
    bytes_per_pixel: float | None = None

    @property
    def runner(self) -> nn.Module:
        """What turns an image into its enlarged one: the backend, or without one the network."""
        return self.net if self.run is None else self.run


def load_model(source: str | os.PathLike[str], role: str) -> Model:
    """Load the generator of a weight file.

    Args:
        source: a file, or one of ``weights.KNOWN``.
        role: the option that names the file, such as ``'--model'``; every message begins with it.

    Raises:
        UserError: the weights do not exist or are damaged, the architecture is unknown, or it is a discriminator.
    """
    path, state = weights.load(source, role)
    net, identity = load_kind(state, path, role, 'generator')
    name = os.fspath(source) if os.fspath(source) in weights.KNOWN else path.stem
    return Model(name, path, identity, state, folded(net).eval().requires_grad_(False))
