"""Mutual distillation of discriminator scores, after Deep Mutual Learning (Zhang et al., CVPR 2018, equation 5)."""

from __future__ import annotations

import math

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn
from torch.nn.functional import logsigmoid

from sdakd_plugin.errors import UserError


@LOSS_REGISTRY.register()
class MutualDiscriminatorLoss(nn.Module):
    """``loss_weight * mean_x KL(stopgrad q_peer(x) || q(x))`` with ``q = sigmoid(logits / temperature)``.

    The equation of Lee and Park's mutual loss is not published; this is a reconstruction. Every score is the
    probability of a Bernoulli variable "real", and both discriminators score the same images. The gradient for one
    score is ``loss_weight * (q - q_peer) / temperature``.

    Args:
        loss_weight: factor, at least 0.
        temperature: above 0; larger values soften both predictions.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, loss_weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = _number(loss_weight)
        self.temperature = _number(temperature)
        if not 0 <= self.loss_weight < math.inf:
            raise UserError(f'loss_weight must be a number of at least 0, not {loss_weight!r}')
        if not 0 < self.temperature < math.inf:
            raise UserError(f'temperature must be a number above 0, not {temperature!r}')

    def forward(self, logits: torch.Tensor, peer_logits: torch.Tensor) -> torch.Tensor:
        """Average over all scores; returns a scalar, finite for finite logits. Only ``logits`` receives a gradient.

        Args:
            logits: scores before the sigmoid, of any shape: one per image, ``(n, 1)``, or a map ``(n, 1, h, w)``.
            peer_logits: the peer's scores of the same images.

        Raises:
            UserError: the shapes differ.
        """
        if logits.shape != peer_logits.shape:
            raise UserError(
                f'mutual distillation compares logits of the same shape, not {tuple(logits.shape)} with the '
                f"peer's {tuple(peer_logits.shape)}; use discriminators of one kind or another exchange"
            )
        # log(1 - sigmoid(z)) = logsigmoid(-z), so that no logarithm sees a probability rounded to 0 or 1
        real, fake = logsigmoid(logits / self.temperature), logsigmoid(-logits / self.temperature)
        with torch.no_grad():
            peer = peer_logits / self.temperature
            peer_real, peer_fake = logsigmoid(peer), logsigmoid(-peer)
        divergence = peer_real.exp() * (peer_real - real) + peer_fake.exp() * (peer_fake - fake)
        return self.loss_weight * divergence.mean()


def _number(value: float) -> float:
    try:
        return float(value)  # PyYAML reads 1e-3, without a dot, as text
    except (TypeError, ValueError):
        return math.nan
