"""Detects whether the discriminator or the generator has won, so that the GAN loss teaches nothing any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

WON = 0.05  # fraction of the chance loss below which the discriminator has won
ADVICE = (
    'has told real from generated images almost without a mistake for {} iterations, so the generator has nothing to '
    'learn from it. Try a smaller network_d.width, a lower learning rate for it (lr_d of the stage), or '
    'train.r1_reg_weight',
    'has not told real from generated images any better than by chance for {} iterations, so the generator learns '
    'nothing from it. Try a larger network_d.width, a higher learning rate for it (lr_d of the stage), train_d: true '
    'in the stage before, or a lower gan_opt.loss_weight',
)


class Balance:
    """Counts, on the device, the consecutive iterations in which the discriminator has won or lost.

    The measure is its loss, ``l_d_real + l_d_fake``, relative to the chance loss, that of a discriminator which gives
    every image the same score: 2 ln 2 for ``vanilla``, 1/2 for ``lsgan``, 2 for ``hinge``. Losses without such a bound
    (``wgan``) are not watched.

    Args:
        gan_loss: called with ``(scores, is_real, is_disc=True)``.
        patience: number of consecutive iterations after which one side has won; 0 for never.
        device: the device of the logged losses.
    """

    def __init__(self, gan_loss: nn.Module, patience: int, device: torch.device) -> None:
        self.patience = patience
        self.chance = min(
            float(gan_loss(score, True, is_disc=True) + gan_loss(score, False, is_disc=True))
            for score in (torch.zeros(1, 1, device=device), torch.full((1, 1), 0.5, device=device))
        )
        self.streaks = torch.zeros(2, dtype=torch.long, device=device)  # won, lost
        self.reset()

    def reset(self) -> None:
        """Begin to count anew, as in a new run."""
        self.streaks = torch.zeros_like(self.streaks)
        self.reported = False
        self.collapsed = 0  # the number of iterations of the collapse that was reported

    def watch(self, log: Mapping[str, Tensor]) -> None:
        """Count an iteration by its losses."""
        if self.patience and self.chance > 0:
            loss = log['l_d_real'] + log['l_d_fake']
            self.streaks = (self.streaks + 1) * torch.stack([loss < WON * self.chance, loss >= self.chance])

    def report(self) -> str | None:
        """A warning, once in a run, otherwise ``None``. Waits for the device."""
        if self.reported or not self.patience:
            return None
        for streak, advice in zip(self.streaks.tolist(), ADVICE, strict=True):
            if streak >= self.patience:
                self.reported, self.collapsed = True, streak
                return advice.format(f'{streak:,}')
        return None

    def state(self) -> dict[str, Any]:
        """The counters, for a training state."""
        return {'streaks': self.streaks.tolist(), 'reported': self.reported}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.streaks = torch.tensor(state['streaks'], device=self.streaks.device)
        self.reported = state['reported']
