"""Lazy R1 regularisation of discriminators (Mescheder et al., ICML 2018; lazy as in StyleGAN2, Karras et al.)."""

from __future__ import annotations

from collections.abc import Sequence

from basicsr.losses.gan_loss import r1_penalty
from torch import Tensor

from sdakd_plugin.distillation.discriminator import Log, TrainedDiscriminator
from sdakd_plugin.families.calling import as_input


class R1:
    """The penalty ``weight / 2 * every * E[|grad D(x)|^2]`` for real images ``x``, once in ``every`` iterations.

    The gradient is taken with respect to the input of the discriminator, which has the range -1..1 for GCFSR.

    Args:
        weight: weight of the penalty; 10 in StyleGAN2 and GCFSR.
        every: number of iterations between penalties; 16 in StyleGAN2 and GCFSR.
    """

    def __init__(self, weight: float, every: int) -> None:
        self.weight, self.every = weight, every
        self.last: list[Tensor] = []  # logged in the iterations between

    def backward(self, discriminators: Sequence[TrainedDiscriminator], real: Tensor, iteration: int) -> list[Log]:
        """Accumulate the gradients of the penalty if it is due.

        Args:
            discriminators: the discriminators.
            real: real images (n, c, H, W), range 0..1.
            iteration: the iteration of the run.

        Returns:
            The loss of each discriminator by its log key; empty if the penalty is not due.
        """
        if iteration % self.every:
            return [{} for _ in discriminators]
        self.last = [self._step(discriminator, real) for discriminator in discriminators]
        return [self.log(number) for number in range(len(discriminators))]

    def log(self, number: int) -> Log:
        """The last value of the penalty of a discriminator, by its log key ``l_d_r1``."""
        return {'l_d_r1': self.last[number]} if self.last else {}

    def _step(self, discriminator: TrainedDiscriminator, real: Tensor) -> Tensor:
        images = as_input(discriminator.bare, real.detach()).clone().requires_grad_()
        scores = discriminator.net(images)
        # distributed training needs a gradient, even a zero one, for the last bias too
        loss = self.weight / 2 * r1_penalty(scores, images) * self.every + 0 * scores.sum()
        discriminator.differentiate(loss)
        return loss.detach()
