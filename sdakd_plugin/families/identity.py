"""The identity of the network that weights belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal['generator', 'discriminator', 'face restoration network', 'inpainting network']

USUAL = {
    'num_in_ch': 3,
    'num_out_ch': 3,
    'scale': 4,
    'upscale': 4,
    'num_style_feat': 512,
}  # usual values, which are not shown


@dataclass(frozen=True)
class Identity:
    """A network's kind, its option block, and the upscaling factor of a generator."""

    kind: Kind
    network: dict[str, Any]
    scale: int | None = None

    def __str__(self) -> str:
        shown = [f'{key}={value}' for key, value in self.network.items() if key != 'type' and USUAL.get(key) != value]
        return f'{self.network["type"]}({", ".join(shown)})'
