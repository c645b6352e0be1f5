"""The images of one training iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sdakd_plugin.distillation.teacher import Teacher, TeacherOutput


@dataclass(frozen=True)
class TrainingBatch:
    """The images that students and discriminators train on, (n, c, h, w), range 0..1.

    Attributes:
        lq, gt: input and ground truth.
        real: the real images for the discriminators: the ground truth, sharpened or not.
        gt_usm: the sharpened ground truth, if an option asks for it.
        lq_scale: (n,), the scale of each LQ image, if LQ images have the size of GT.
        teacher_image: the teacher's image, if it comes from a cache.
    """

    lq: Tensor
    gt: Tensor
    real: Tensor
    gt_usm: Tensor | None = None
    lq_scale: Tensor | None = None
    teacher_image: Tensor | None = None


class TeacherPass:
    """The teacher's outputs for one batch, computed on first use and shared by all students.

    Args:
        teacher: the teacher; ``None`` if a cache provides its images, or if there is none.
        batch: the batch.
    """

    def __init__(self, teacher: Teacher | None, batch: TrainingBatch) -> None:
        self.teacher, self.batch = teacher, batch
        self._outputs: dict[tuple[tuple[str, ...], bool], TeacherOutput] = {}

    def __call__(self, layers: Sequence[str], image: bool) -> TeacherOutput:
        """The features of the named layers and, with ``image``, the teacher's image."""
        key = tuple(layers), image
        if key not in self._outputs:
            self._outputs[key] = self._run(layers, image)
        return self._outputs[key]

    def _run(self, layers: Sequence[str], image: bool) -> TeacherOutput:
        cached = self.batch.teacher_image
        if cached is not None and not layers:
            return TeacherOutput(cached, {})
        assert self.teacher is not None
        output = self.teacher.generate(self.batch.lq, layers, image and cached is None, self.batch.lq_scale)
        return output if cached is None else TeacherOutput(cached, output.features)
