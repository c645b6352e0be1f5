"""The backward pass of discriminators: the GAN loss on real and generated images, and further terms.

One function serves a single student discriminator, one with a peer, and the discriminators of a cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.discriminator_output import DiscriminatorOutput
from sdakd_plugin.distillation.discriminator_terms import FeatureDTerm
from sdakd_plugin.distillation.exchange import Exchange
from sdakd_plugin.distillation.taps import Taps
from sdakd_plugin.families.calling import score

Log = dict[str, Tensor]


@dataclass
class TrainedDiscriminator:
    """A discriminator in training.

    Attributes:
        net: the network, possibly in a distributed wrapper.
        bare: the network without its distributed wrapper.
        terms: its further terms.
        forward_pass: runs the network; by default in float32 as it is.
        differentiate: accumulates the gradients of its loss.
    """

    net: nn.Module
    bare: nn.Module
    terms: Sequence[FeatureDTerm] = ()
    forward_pass: Callable[..., Tensor] = lambda call, net, images: call(net, images)
    differentiate: Callable[[Tensor], None] = Tensor.backward


class Batch(NamedTuple):
    """Real or generated images (n, c, H, W), range 0..1, and the discriminators whose GAN loss uses them."""

    is_real: bool
    images: Tensor
    owners: Collection[int]


def backward(
    discriminators: Sequence[TrainedDiscriminator],
    gan_loss: nn.Module,
    batches: Sequence[Batch],
    mutual: Exchange | None = None,
    ramps: Mapping[str, float] | None = None,
) -> list[Log]:
    """Accumulate the gradients of every discriminator, batch by batch; a single one follows BasicSR's order.

    All discriminators score a batch before the backward pass of any of them, and each runs its backward pass before it
    scores the next batch.

    Args:
        discriminators: the discriminators.
        gan_loss: called with ``(scores, is_real, is_disc=True)``.
        batches: the real images and the generated ones, without gradients.
        mutual: the exchange between the discriminators; like every further term, it is averaged over the batches.
        ramps: factors of the further terms, by their names; 1 for the others.

    Returns:
        The losses and mean scores of each discriminator, by BasicSR's log keys.
    """
    logs: list[Log] = [{} for _ in discriminators]
    shared = sum(mutual.wants(batch.is_real) for batch in batches) if mutual else 0
    for batch in batches:
        exchange = mutual if mutual and mutual.wants(batch.is_real) else None
        learners = range(len(discriminators)) if exchange else sorted(batch.owners)
        scored = {k: _score(discriminators[k], batch.images, exchange.layers(k) if exchange else ()) for k in learners}
        for k in learners:
            losses = []
            if k in batch.owners:
                losses += _own_losses(discriminators[k], gan_loss, batch, scored[k], logs[k], ramps)
            if exchange:
                value = _ramped(exchange(k, scored) / shared, 'mutual', ramps)
                losses.append(_counted(logs[k], 'l_d_mutual', value))
            discriminators[k].differentiate(sum(losses[1:], losses[0]))
    return logs


def _score(discriminator: TrainedDiscriminator, images: Tensor, layers: Sequence[str]) -> DiscriminatorOutput:
    names = [*layers, *(layer for term in discriminator.terms for layer in term.student_layers)]
    with Taps(discriminator.bare, names) as taps:
        scores = discriminator.forward_pass(score, discriminator.net, images)
    return DiscriminatorOutput(images, scores, taps.features)


def _own_losses(
    discriminator: TrainedDiscriminator,
    gan_loss: nn.Module,
    batch: Batch,
    scored: DiscriminatorOutput,
    log: Log,
    ramps: Mapping[str, float] | None,
) -> list[Tensor]:
    name = 'real' if batch.is_real else 'fake'
    loss = gan_loss(scored.scores, batch.is_real, is_disc=True)
    log[f'l_d_{name}'] = loss.detach()
    log[f'out_d_{name}'] = torch.mean(scored.scores.detach())
    return [
        loss,
        *(_counted(log, term.log_name, _ramped(term(scored) / 2, term.name, ramps)) for term in discriminator.terms),
    ]


def _ramped(value: Tensor, name: str, ramps: Mapping[str, float] | None) -> Tensor:
    return value * ramps[name] if ramps and name in ramps else value


def _counted(log: Log, key: str, value: Tensor) -> Tensor:
    log[key] = log[key] + value.detach() if key in log else value.detach()
    return value
