"""The table of known weights with the current location of each."""

from __future__ import annotations

from sdakd_plugin.families.identity import Identity
from sdakd_plugin.weights.known import KNOWN, KnownWeights
from sdakd_plugin.weights.places import cache_dir, package_file


def catalogue() -> list[dict[str, str]]:
    """One row per entry of ``KNOWN``: name, architecture, scale, size, licence and location. Downloads nothing."""
    return [
        {
            'name': known.name,
            'architecture': str(Identity(known.kind, known.network, known.scale)),
            'scale': f'x{known.scale}',
            'size': f'{size / 1e6:.1f} MB' if (size := size_of(known)) else '',
            'licence': known.licence,
            'where': where(known),
        }
        for known in KNOWN.values()
    ]


def size_of(known: KnownWeights) -> int | None:
    """The size in bytes of the file in this package or of the official file; ``None`` if unknown."""
    return known.file.stat().st_size if known.file is not None else known.size


def where(known: KnownWeights) -> str:
    """The location of known weights: this package, the cache, an installed package, or the address to download from."""
    if known.file is not None:
        return 'in this package'
    for name in (f'{known.name}.pth', f'{known.name}.ncnn.pth'):
        if (file := cache_dir() / name).is_file():
            return str(file)
    if known.ncnn is not None and package_file(known.ncnn, '.bin') is not None:
        return f'package {known.ncnn.package}'
    return known.url
