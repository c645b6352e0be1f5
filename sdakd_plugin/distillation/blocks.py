"""The blocks of a network, in the order in which an image passes them: where features can be compared by depth."""

from __future__ import annotations

from torch import nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.registry import blocks
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss


def spread(names: list[str], depths: int) -> list[str]:
    """``depths`` of the names at even distances, the last of them included: of 23 blocks and 4 depths the sixth,
    twelfth, eighteenth and last."""
    return [names[-(-len(names) * part // depths) - 1] for part in range(1, depths + 1)]


def name_layers(loss: nn.Module, student: nn.Module, teacher: nn.Module, key: str) -> None:
    """Give a ``FeatureAlignmentLoss`` whose ``layers`` is a number the names that it stands for.

    Args:
        loss: any loss; others than that one are left alone.
        student: the network whose features are transformed, not wrapped.
        teacher: the network that it learns from, not wrapped.
        key: where ``layers`` stands in the option file.

    Raises:
        UserError: a network has too few blocks or none that are known, or a list of names is meant for networks of
            two families, whose equal names mean different things.
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
                'count theirs differently; write a number of depths, such as 4, or a mapping '
                'student: teacher'
            )
        return
    for net, kind in zip((student, teacher), kinds, strict=True):
        found = len(blocks(net))
        if not found:
            raise UserError(
                f'{key}: the blocks of {kind} are not known; name its layers: a list, or a mapping student: teacher'
            )
        if found < loss.depths:
            raise UserError(
                f'{key}: {kind} has {found} blocks, which is less than {loss.depths} depths; use {found} or less'
            )
    loss.layers = dict(zip(spread(blocks(student), loss.depths), spread(blocks(teacher), loss.depths), strict=True))
