"""The terms of a discriminator's objective besides its GAN loss."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sdakd_plugin.distillation.discriminator_output import DiscriminatorOutput
from sdakd_plugin.distillation.teacher import Teacher


class FeatureDTerm:
    """Aligns the features of the student discriminator with those of the teacher discriminator on the same images."""

    name, log_name = 'feature_d', 'l_d_feature'

    def __init__(self, loss: nn.Module, layers: Mapping[str, str], teacher: Teacher) -> None:
        self.loss, self.teacher = loss, teacher
        self.student_layers, self.teacher_layers = tuple(layers), tuple(layers.values())

    def __call__(self, scored: DiscriminatorOutput) -> Tensor:
        return self.loss(scored.features, self.teacher.discriminate(scored.images, self.teacher_layers))
