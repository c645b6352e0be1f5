"""R1 regularisation of a discriminator (Mescheder et al., ICML 2018), now and then as in StyleGAN2 (Karras et al.)."""

from __future__ import annotations

from collections.abc import Sequence

from basicsr.losses.gan_loss import r1_penalty
from torch import Tensor

from sdakd_plugin.distillation.discriminator import Log, TrainedDiscriminator
from sdakd_plugin.families.calling import as_input


class R1:
    """Every ``every`` iterations, ``weight / 2 * every * E[|grad D(x)|^2]`` for real images ``x``.

    The gradient is taken with respect to the images as the discriminator sees them: for GCFSR's of range -1..1.

    Args:
        weight: 10 in StyleGAN2 and GCFSR.
        every: 16 there.
    """

    def __init__(self, weight: float, every: int) -> None:
        self.weight, self.every = weight, every
        self.last: list[Tensor] = []  # for the log of the iterations between

    def backward(self, discriminators: Sequence[TrainedDiscriminator], real: Tensor, iteration: int) -> list[Log]:
        """Accumulate the gradients where the penalty is due.

        Args:
            discriminators: the discriminators.
            real: images (n, c, H, W), range 0..1.
            iteration: of the run.

        Returns:
            For each discriminator the loss of this iteration by its log key, nothing where the penalty is not due.
        """
        if iteration % self.every:
            return [{} for _ in discriminators]
        self.last = [self._step(discriminator, real) for discriminator in discriminators]
        return [self.log(number) for number in range(len(discriminators))]

    def log(self, number: int) -> Log:
        """``l_d_r1`` of a discriminator, as of the last time it was due."""
        return {'l_d_r1': self.last[number]} if self.last else {}

    def _step(self, discriminator: TrainedDiscriminator, real: Tensor) -> Tensor:
        images = as_input(discriminator.bare, real.detach()).clone().requires_grad_()
        scores = discriminator.net(images)
        # distributed training wants a gradient, be it zero, for the last bias too
        loss = self.weight / 2 * r1_penalty(scores, images) * self.every + 0 * scores.sum()
        discriminator.differentiate(loss)
        return loss.detach()
