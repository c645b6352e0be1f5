"""What the student's validation pictures are looked at beside: the ground truth and the teacher's images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger, imwrite, tensor2img
from torch import Tensor

from sdakd_plugin.data.against_teacher import AgainstTeacher

FOLDER = 'references'
MOST = 4  # images of a data set


@torch.no_grad()
def save(dataset: Any, folder: Path, teach: Callable[[Tensor], Tensor] | None) -> None:
    """Save ``IMAGE_gt.png`` and ``IMAGE_teacher.png`` of a data set's first images, unless they exist.

    ``IMAGE`` is the name by which BasicSR saves the student's picture. If the teacher cannot enlarge an image, such as
    for lack of memory, the log says so.

    Args:
        dataset: a validation set.
        folder: for the pictures.
        teach: the teacher: turns an LQ image (1, c, h, w) into (1, c, H, W); ``None`` if there is none here.
    """
    gt_is_of = 'teacher' if isinstance(dataset, AgainstTeacher) else 'gt'
    for index in islice(range(len(dataset)), MOST):
        item = dataset[index]
        name = Path(item['lq_path']).stem
        gt, teacher = (folder / f'{name}_{kind}.png' for kind in (gt_is_of, 'teacher'))
        if 'gt' in item and not gt.exists():
            imwrite(tensor2img([item['gt'][None]]), str(gt))
        if (
            teach is None or teacher.exists() or 'lq_scale' in item
        ):  # several scales: BasicSR saves the last one's image
            continue
        try:
            imwrite(tensor2img([teach(item['lq'][None]).float()]), str(teacher))
        except RuntimeError as error:
            get_root_logger().warning(f"The teacher's picture of {name} cannot be saved: {error}")
            return
