"""Which layers of a quantised network must stay in float, found by measuring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MOST_GROUPS = 40  # of layers in a row that are measured together, so that deep networks take no hours


class Attempt(Protocol):
    """A quantised network that was compared with the float one."""

    @property
    def good(self) -> bool:
        """Whether it is near enough to the float network."""


A = TypeVar('A', bound=Attempt)


@dataclass(frozen=True)
class Choice(Generic[A]):
    """Attributes: attempt, in_float (layers, the most sensitive first), costs (by layer the PSNR in dB to the float
    network's images if no other layer is quantised; empty where nothing had to be measured)."""

    attempt: A
    in_float: tuple[str, ...]
    costs: dict[str, float]


def choose(
    layers: Sequence[str], quantize: Callable[[Sequence[str]], A], cost: Callable[[Sequence[str]], float]
) -> Choice[A]:
    """Keep as few layers in float as suffice, at most half of them.

    All layers are quantised at first. If that is not good, each is measured as the only quantised one, and the smallest
    number of the most sensitive is bisected.

    Args:
        layers: all layers, in order.
        quantize: makes and judges the network with these layers in float.
        cost: the PSNR in dB to the float network's images with these layers in float.

    Returns:
        The ``Choice``. Its attempt is not ``good`` if half of the layers in float are not enough.
    """
    attempt = quantize(())
    if attempt.good:
        return Choice(attempt, (), {})
    step = -(-len(layers) // MOST_GROUPS)
    groups = [layers[start : start + step] for start in range(0, len(layers), step)]
    costs = {group: cost([layer for layer in layers if layer not in group]) for group in map(tuple, groups)}
    worst = sorted(costs, key=costs.__getitem__)

    def first(number: int) -> tuple[str, ...]:
        return tuple(layer for group in worst[:number] for layer in group)

    enough, too_few = len(worst) // 2, 0
    attempt = quantize(first(enough))
    while attempt.good and enough - too_few > 1:
        middle = (enough + too_few) // 2
        trial = quantize(first(middle))
        if trial.good:
            attempt, enough = trial, middle
        else:
            too_few = middle
    return Choice(attempt, first(enough), {layer: costs[group] for group in worst for layer in group})
