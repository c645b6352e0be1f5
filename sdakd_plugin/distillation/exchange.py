"""Mutual distillation between discriminators of a cohort (Lee and Park, 2022).

The paper describes the idea only. The equation follows Deep Mutual Learning (Zhang et al., 2018) and is a
reconstruction: ``l * sum_{j != k} mean_x KL(stopgrad q_j(x) || q_k(x))``, where all score the same images ``x``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.blocks import name_layers
from sdakd_plugin.distillation.build_loss import build_loss
from sdakd_plugin.distillation.discriminator_output import DiscriminatorOutput
from sdakd_plugin.distillation.rehearsal import blank_images, run_once
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import score
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss
from sdakd_plugin.options import Options

KEY = 'train.mutual_opt'


@dataclass
class Exchange:
    """The exchange between discriminators.

    Attributes:
        losses: for each ordered pair (learner, peer), a loss of their scores or, for ``FeatureAlignmentLoss``, of their
            features. No gradient reaches the peer.
        images: the images that are exchanged: 'real', 'fake' or 'both'.
    """

    losses: Mapping[tuple[int, int], nn.Module]
    images: str = 'both'

    def __post_init__(self) -> None:
        self._calls = dict(self.losses)

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the losses with trainable parameters, so that processes share their gradients."""
        self._calls = {
            pair: wrap(loss) if any(True for _ in loss.parameters()) else loss for pair, loss in self.losses.items()
        }

    @property
    def of_features(self) -> bool:
        """Whether features are exchanged instead of scores."""
        return any(isinstance(loss, FeatureAlignmentLoss) for loss in self.losses.values())

    def wants(self, is_real: bool) -> bool:
        return self.images in ('both', 'real' if is_real else 'fake')

    def layers(self, discriminator: int) -> list[str]:
        """The layers whose features a discriminator provides, as learner and as peer; empty if scores are exchanged."""
        names: dict[str, None] = {}
        for (learner, peer), loss in self.losses.items():
            if isinstance(loss, FeatureAlignmentLoss):
                names.update(
                    dict.fromkeys(
                        [*loss.layers] * (discriminator == learner) + [*loss.layers.values()] * (discriminator == peer)
                    )
                )
        return list(names)

    def of(self, learner: int) -> list[nn.Module]:
        """The losses whose parameters are trained together with a learner."""
        return [loss for (source, _), loss in self.losses.items() if source == learner]

    @property
    def connectors(self) -> dict[str, nn.Module]:
        """The losses with trainable parameters, by name."""
        return {
            f'mutual_{learner}_{peer}': loss
            for (learner, peer), loss in self.losses.items()
            if any(True for _ in loss.parameters())
        }

    def __call__(self, learner: int, scored: Mapping[int, DiscriminatorOutput]) -> Tensor:
        """The learner's sum over its peers; ``scored`` has the output of every discriminator for the same images."""
        mine = scored[learner]
        total = torch.zeros((), device=mine.scores.device)
        for (source, peer), loss in self._calls.items():
            if source == learner:
                theirs = scored[peer]
                total = total + (
                    loss(mine.features, theirs.features)
                    if self.of_features
                    else loss(mine.scores, theirs.scores.detach())
                )
        # distributed training needs a gradient, even a zero one, for the layers after the features too
        return total + 0 * mine.scores.sum() if self.of_features else total


def make_exchange(
    block: Mapping[str, Any], options: Options, nets: Sequence[nn.Module], device: torch.device
) -> Exchange | None:
    """Build the exchange of a cohort from ``train.mutual_opt``.

    Args:
        block: the option block. Its type determines what is exchanged: scores (``MutualDiscriminatorLoss``) or features
            (``FeatureAlignmentLoss``; a mapping of layers goes from the earlier to the later member).
        options: the options of the run.
        nets: the discriminators, not wrapped.
        device: the device of the discriminators.

    Returns:
        The exchange, or ``None`` for a weight of 0: the discriminators are then independent, and no images are scored
        for the exchange.

    Raises:
        UserError: the scores or features of the discriminators do not fit together.
    """
    images = blank_images(options, device)
    losses: dict[tuple[int, int], nn.Module] = {}
    for learner, peer in permutations(range(len(nets)), 2):
        own = dict(block)
        if learner > peer and isinstance(block.get('layers'), Mapping):
            own['layers'] = {target: source for source, target in block['layers'].items()}
        losses[learner, peer] = build_loss(own, KEY).to(device)
        name_layers(losses[learner, peer], nets[learner], nets[peer], f'{KEY}.layers')
    if not any(getattr(loss, 'loss_weight', 1) for loss in losses.values()):
        return None
    assert options.train is not None
    mutual = Exchange(losses, options.train.mutual_images)
    seen = [
        run_once(score, net, images, mutual.layers(number), f'discriminator {number + 1}', f'{KEY}.layers')
        for number, net in enumerate(nets)
    ]
    for (learner, peer), loss in losses.items():
        if isinstance(loss, FeatureAlignmentLoss):
            try:
                loss.connect(seen[learner][1], seen[peer][1])
            except UserError as error:
                raise UserError(f'{KEY}.{error}') from None
        elif seen[learner][0].shape != seen[peer][0].shape:
            shapes = ['x'.join(map(str, seen[discriminator][0].shape[1:])) for discriminator in (learner, peer)]
            raise UserError(
                f'{KEY}: discriminator {learner + 1} gives scores of {shapes[0]}, {peer + 1} of '
                f'{shapes[1]}; exchange features (FeatureAlignmentLoss), or use one family'
            )
    return mutual
