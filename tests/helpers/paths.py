"""The paths of the repository and of the real data and weights next to it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get('SDAKD_SHARED') or ROOT.parent / 'shared')
LIKE_WINDOWS = ROOT / 'tests/like_windows'  # holds sitecustomize.py


def python_path(*folders: Path) -> str:
    """``PYTHONPATH`` with more folders, which come first."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get('PYTHONPATH')])])
