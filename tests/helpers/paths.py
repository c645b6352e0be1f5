"""The paths of the repository and of the real data and weights next to it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get('SDAKD_SHARED') or ROOT.parent / 'shared')
