"""The images of one training iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sdakd_plugin.distillation.teacher import Teacher, TeacherOutput
from sdakd_plugin.distillation.terms import FromTeacher, Needs


@dataclass(frozen=True)
class TrainingBatch:
    """The images that students and discriminators train on, (n, c, h, w), range 0..1.

    Attributes:
        lq: the input.
        gt: the ground truth; ``None`` if the data set has none.
        real: the ground truth as the discriminators see it, sharpened or not.
        gt_usm: the sharpened ground truth, if an option asks for it.
        lq_scale: (n,), the scale of each LQ image, if LQ images have the size of GT.
        teacher_image: the teacher's image, if it comes from a cache.
    """

    lq: Tensor
    gt: Tensor | None
    real: Tensor | None
    gt_usm: Tensor | None = None
    lq_scale: Tensor | None = None
    teacher_image: Tensor | None = None


class TeacherPass:
    """The teachers' outputs for one batch, computed on first use and shared by all students.

    Args:
        teachers: the teachers by their keys; without one whose images come from a cache.
        batch: the batch.
    """

    def __init__(self, teachers: Mapping[str, Teacher], batch: TrainingBatch) -> None:
        self.teachers, self.batch = teachers, batch
        self._outputs: dict[tuple[str, FromTeacher], TeacherOutput] = {}

    def __call__(self, key: str, needs: Needs) -> TeacherOutput:
        """What the terms of a stage need from the teacher of a key."""
        asked = key, needs.teachers[key]
        if asked not in self._outputs:
            self._outputs[asked] = self._run(*asked)
        return self._outputs[asked]

    def _run(self, key: str, asked: FromTeacher) -> TeacherOutput:
        cached = self.batch.teacher_image
        if cached is not None and not asked.layers:
            return TeacherOutput(cached, {})
        output = self.teachers[key].generate(
            self.batch.lq, asked.layers, asked.image and cached is None, self.batch.lq_scale
        )
        return output if cached is None else TeacherOutput(cached, output.features)
