"""Where known weights are on this machine. Imports nothing heavy."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from sdakd_plugin.weights.known import NcnnSource


def cache_dir() -> Path:
    """``$SDAKD_CACHE`` or, by default, the download folder of torch, BasicSR and GFPGAN."""
    return Path(os.environ.get('SDAKD_CACHE') or Path(_hub(), 'checkpoints')).expanduser()


def package_file(source: NcnnSource, suffix: str) -> Path | None:
    """A file of an installed data package; ``None`` if the package is missing or does not have it."""
    spec = find_spec(source.package)  # finds without importing: importing would run the package's code
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], 'models', source.stem + suffix)
    return path if path.is_file() else None


def _hub() -> Path:
    """``torch.hub.get_dir()``; without importing torch, its default."""
    if 'torch' in sys.modules:
        return Path(sys.modules['torch'].hub.get_dir())
    cache = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache'), 'torch')
    return Path(os.environ.get('TORCH_HOME', cache), 'hub')
