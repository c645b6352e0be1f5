"""Selects layers of two networks by depth, so that their features can be compared."""

from __future__ import annotations

from torch import nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.registry import blocks
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss


def spread(names: list[str], depths: int) -> list[str]:
    """``depths`` evenly spaced names, including the last one.

    For 23 blocks and 4 depths: the sixth, twelfth, eighteenth and last.
    """
    return [names[-(-len(names) * part // depths) - 1] for part in range(1, depths + 1)]


def name_layers(loss: nn.Module, student: nn.Module, teacher: nn.Module, key: str) -> None:
    """Set the layer names of a ``FeatureAlignmentLoss`` whose option ``layers`` is a number of depths.

    Args:
        loss: any loss; losses of other types are not changed.
        student: the network whose features are transformed, not wrapped.
        teacher: the network to learn from, not wrapped.
        key: the key of ``layers`` in the option file.

    Raises:
        UserError: the blocks of a network are unknown or too few, or a list of names is used for networks of two
            families in which the same names mean different depths.
    """
    if not isinstance(loss, FeatureAlignmentLoss):
        return
    kinds = type(student).__name__, type(teacher).__name__
    if loss.depths is None:
        places = [{name: place for place, name in enumerate(blocks(net))} for net in (student, teacher)]
        if (
            loss.same_names
            and kinds[0] != kinds[1]
            and all(places)
            and any(places[0].get(name) != places[1].get(name) for name in loss.layers)
        ):
            raise UserError(
                f'{key}: a list names the same layers in both networks, but {kinds[0]} and {kinds[1]} '
                'number their layers differently; use a number of depths, such as 4, or a mapping '
                'student: teacher'
            )
        return
    for net, kind in zip((student, teacher), kinds, strict=True):
        found = len(blocks(net))
        if not found:
            raise UserError(
                f'{key}: the blocks of {kind} are unknown; name its layers in a list or a mapping student: teacher'
            )
        if found < loss.depths:
            raise UserError(f'{key}: {kind} has {found} blocks, fewer than {loss.depths} depths; use {found} or less')
    loss.layers = dict(zip(spread(blocks(student), loss.depths), spread(blocks(teacher), loss.depths), strict=True))
