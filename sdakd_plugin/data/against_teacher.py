"""A validation set without ground truth, seen as one whose ground truth is the teacher's images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

MOST_KEPT = 2**28  # bytes of the teacher's images that are kept between validations


class AgainstTeacher(Dataset[dict[str, Any]]):
    """A view of a data set without ``gt`` that adds the teacher's image as ``gt``, in steps of 8 bits like a file.

    Metrics then measure the distance to the teacher. The name of the view gets the suffix ``_to_teacher``.

    Args:
        dataset: gives ``lq`` (c, h, w), range 0..1, and ``lq_path``.
        enlarge: the teacher: turns (1, c, h, w) into (1, c, H, W).
    """

    def __init__(self, dataset: Any, enlarge: Callable[[Tensor], Tensor]) -> None:
        self.dataset, self.enlarge = dataset, enlarge
        self.opt = {**dataset.opt, 'name': f'{dataset.opt["name"]}_to_teacher'}
        self.kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.dataset[index]
        levels = self.kept.get(index)
        if levels is None:
            levels = self.levels(item['lq'])
            if sum(image.nbytes for image in self.kept.values()) + levels.nbytes <= MOST_KEPT:
                self.kept[index] = levels
        return {**item, 'gt': levels.float() / 255}

    @torch.no_grad()
    def levels(self, lq: Tensor) -> Tensor:
        """The teacher's image of an LQ image (c, h, w), uint8, on the CPU."""
        return (self.enlarge(lq[None])[0].float().cpu().clamp(0, 1) * 255).round().byte()
