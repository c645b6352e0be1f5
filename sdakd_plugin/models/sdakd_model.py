"""The BasicSR model of one student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from sdakd_plugin.models.plugin_model import PluginModel
from sdakd_plugin.options import Options
from sdakd_plugin.resume.run_position import RunPosition


@MODEL_REGISTRY.register()
class SDAKDModel(PluginModel):
    """Distils a student generator from a teacher in stages (SDAKD, arXiv 2510.03870).

    With one stage and no teacher it computes exactly the numbers of BasicSR's ``SRGANModel`` and ``RealESRGANModel``.
    ``docs/options.md`` describes the options.

    Attributes:
        net_g: the student, as in BasicSR's models.
        trainee: the student and everything that trains with it; does not exist in testing.
    """

    def __init__(self, opt: Mapping[str, Any], position: RunPosition | None = None) -> None:
        super().__init__(opt, position)
        self.net_g = self.students[0].net_g
        if self.is_train:
            self.trainee = self.trainees[0]
            if remark := gan_remark(self.options):
                get_root_logger().info(remark)


def gan_remark(options: Options) -> str | None:
    """A message about the GAN loss, for users of ESRGANModel; ``None`` if it does not apply.

    Option files of ESRGANModel and SRGANModel differ only in the model type. The message applies to one stage with a
    discriminator and no teacher, as in both.
    """
    train = options.train
    if train is None or train.stages is not None or options.all_teachers or options.cohort or 'gan' not in train.losses:
        return None
    return "GAN loss: plain (as SRGANModel), not ESRGANModel's relativistic average"
