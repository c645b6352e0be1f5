"""The teacher's frozen networks, which are not part of any optimizer, distributed wrapper or checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.taps import Taps
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import score, super_resolve
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import TeacherOptions


class TeacherOutput(NamedTuple):
    """The output of a teacher for a batch: its image (n, c, H, W), if requested, and the features by layer name."""

    sr: Tensor | None
    features: dict[str, Tensor]


class Teacher:
    """The networks of the block ``teacher``, in evaluation mode and without gradients.

    Args:
        options: the block ``teacher``.
        forward_pass: runs the networks.

    Raises:
        UserError: unknown network, or weights that are missing, unreadable or of another network.
    """

    def __init__(self, options: TeacherOptions, forward_pass: ForwardPass) -> None:
        self.forward_pass = forward_pass
        self.net_g = self._ready(
            load_frozen(options.network_g, options.pretrain_network_g, options.param_key_g, 'g').net
        )
        self.net_d: nn.Module | None = None
        if options.pretrain_network_d is not None:
            self.net_d = self._ready(
                load_frozen(options.network_d, options.pretrain_network_d, options.param_key_d, 'd').net
            )
        elif options.network_d is not None:
            raise UserError('teacher.pretrain_network_d: this key is missing; teacher.network_d needs its weights')

    def _ready(self, net: nn.Module) -> nn.Module:
        return self.forward_pass.prepare(net.to(self.forward_pass.device))

    @torch.no_grad()
    def generate(
        self, lq: Tensor, layers: Iterable[str] = (), image: bool = True, lq_scale: Tensor | None = None
    ) -> TeacherOutput:
        """Super-resolve a batch.

        Args:
            lq: (n, c, h, w), range 0..1.
            layers: names of the features to return.
            image: whether to return the image; otherwise the forward pass ends after the last layer.
            lq_scale: see ``super_resolve``.
        """
        sr = None
        with Taps(self.net_g, layers, stop=not image, images=lq) as taps:
            sr = self.forward_pass(super_resolve, self.net_g, lq, lq_scale)
        return TeacherOutput(sr, taps.features)

    @torch.no_grad()
    def discriminate(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """The features of images (n, c, H, W), range 0..1, in the teacher's discriminator."""
        assert self.net_d is not None
        with Taps(self.net_d, layers, stop=True) as taps:
            self.forward_pass(score, self.net_d, images)
        return taps.features
