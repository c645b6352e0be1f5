"""The contents of a weight file, as ``sdakd weights inspect`` shows them."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sdakd_plugin import weights
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.spandrel import is_of_spandrel
from sdakd_plugin.networks.identified import load_identified
from sdakd_plugin.weights.files import inner_keys


@dataclass(frozen=True)
class Contents:
    """The contents of a weight file.

    Attributes:
        path: path of the file.
        keys: keys of the state dicts in the file; empty if the file itself is one.
        state: the state dict that is used.
        identity: the network; ``None`` if it is unknown.
        parameters: number of parameters; ``None`` if the network is unknown.
        by_spandrel: whether spandrel builds the network, and the options only describe it.
    """

    path: Path
    keys: list[str]
    state: Mapping[str, Tensor]
    identity: weights.Identity | None
    parameters: int | None
    by_spandrel: bool = False

    def __str__(self) -> str:
        dtypes = Counter(str(tensor.dtype).removeprefix('torch.') for tensor in self.state.values())
        facts: dict[str, str | None] = {
            'file': f'{self.path} ({self.path.stat().st_size:,} bytes)',
            'keys': ', '.join(self.keys) or 'none, a bare state dict',
            'tensors': ', '.join(f'{count} {dtype}' for dtype, count in dtypes.items()),
        }
        if self.identity is None:
            names = list(self.state)
            facts['architecture'] = f'unknown; begins with {", ".join(names[:4])}{", ..." if names[4:] else ""}'
        else:
            options = self.identity.network
            facts |= {
                'architecture': options['type'] + (', built by spandrel' if self.by_spandrel else ''),
                'kind': self.identity.kind,
                'options': ', '.join(f'{key}={value}' for key, value in options.items() if key != 'type'),
                'scale': f'x{self.identity.scale}' if self.identity.scale else None,
                'parameters': f'{self.parameters:,}',
            }
        return '\n'.join(f'{key:<13} {value}' for key, value in facts.items() if value is not None)


def read_contents(source: str | os.PathLike[str], role: str) -> Contents:
    """Read a weight file and identify its network.

    Args:
        source: a file, or a name in ``weights.KNOWN``.
        role: every message begins with it.

    Raises:
        UserError: the file is missing or damaged, has no state dict, or contains NaN.
    """
    path, state = weights.load(source, role)
    check_sums(path, role)
    found = load_identified(state, path, role)  # verifies the identity, and that the values are finite
    if found is None:
        return Contents(path, inner_keys(path), state, None, None)
    parameters = sum(parameter.numel() for parameter in found.net.parameters())
    return Contents(path, inner_keys(path), state, found.identity, parameters, is_of_spandrel(found.net))


def check_sums(path: Path, role: str) -> None:
    """Verify the checksums in a file written by ``torch.save``; ``torch.load`` does not check them.

    Raises:
        UserError: a checksum is wrong.
    """
    if not zipfile.is_zipfile(path):  # safetensors, or older than torch 1.6
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged:
        raise UserError(f'{role}: {path} is damaged: a wrong checksum ({damaged}); copy or download it again')
