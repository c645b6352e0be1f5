"""Stands in for the folder ``teacher.cache`` where images are missing: training makes them first, a check does not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from sdakd_plugin.checks.timing import time_teacher
from sdakd_plugin.teacher_cache.cache import TeacherCache
from sdakd_plugin.teacher_cache.fill import load_teacher

SECONDS = 3.0  # for making LQ images, from which the time for all is estimated


class TeacherImages:
    """The teacher of a run whose images are not all stored.

    Args:
        cache: the folder.
        device: where the teacher runs.

    Raises:
        UserError: as ``load_teacher``.
    """

    def __init__(self, cache: TeacherCache, device: torch.device) -> None:
        self.cache, self.gpu = cache, device.type == 'cuda'
        self.teacher = load_teacher(cache, device, tile=0)

    def beside(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch with the teacher's images, as the folder would give it."""
        images = [self.teacher.enlarge_exactly(lq.permute(1, 2, 0).numpy()) for lq in batch['lq']]
        return {**batch, 'teacher': torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])}

    def seconds(self) -> float:
        """About how long the missing images take."""
        before = self.cache.read()
        missing = list(self.cache.indices) if before is None else self.cache.missing(before)
        pixels = count = 0
        begun = time.perf_counter()
        for name in missing:
            pixels += self.cache.dataset[self.cache.indices[name]]['lq'][0].numel()
            count += 1
            if time.perf_counter() - begun > SECONDS:
                break
        taken = time.perf_counter() - begun + pixels * time_teacher(self.teacher.model, self.gpu)
        return taken / count * len(missing)
