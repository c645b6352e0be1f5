"""One run of an ablation, in a process of its own: ``sdakd train`` in the ablation's folder, without the summary.

python -m sdakd_plugin.ablation.child FOLDER -opt FILE --auto_resume
"""

from __future__ import annotations

import sys

from sdakd_plugin.errors import reported
from sdakd_plugin.resume import training


def train(folder: str, *arguments: str) -> int:
    """Train; ``folder`` is the root of BasicSR's folders, while data and weights are found from the current one."""
    training.train(arguments, folder)
    return 0


if __name__ == '__main__':
    sys.exit(reported(train, *sys.argv[1:]))
