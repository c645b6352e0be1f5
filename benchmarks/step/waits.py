"""Where an iteration makes the host wait for the GPU.

Torch's own check knows the operations that wait, not other libraries' calls.
"""
from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.step.timing import Step
from benchmarks.step.training import Training

PINNED = 'images from pinned memory'


def all_waits(steps: Mapping[str, Step]) -> dict[str, str | None]:
    """``first_wait`` of each step; for a model in BasicSR's loop also with images that its ``feed_data`` transfers."""
    found = {}
    for name, step in steps.items():
        found[name] = first_wait(step)
        if isinstance(step, Training):
            step.images = {key: image.cpu().pin_memory() for key, image in step.images.items()}
            found[f'{name}, {PINNED}'] = first_wait(step)
    return found


def first_wait(step: Step) -> str | None:
    """Run one iteration in which every operation that waits for the GPU is an error.

    Returns:
        The first place that waits, ``FILE:LINE (CODE)``, which ends the iteration there; None if nothing waits.
    """
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    except RuntimeError as error:
        if 'synchroniz' not in str(error):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f'{Path(frame.filename).name}:{frame.lineno} ({frame.line})'
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return None
