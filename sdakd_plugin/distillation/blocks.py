"""The blocks of a network, in the order in which an image passes them: where features can be compared by depth."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss
from sdakd_plugin.slimming.wiring import FAMILIES

# Networks whose blocks are not the entries of ``body``. GCFSR's are those of its decoder, one for each resolution.
NAMES: dict[str, Callable[[Any], list[str]]] = {
    'GCFSR': lambda net: [f'style_convs.{index}' for index in range(1, len(net.style_convs), 2)],
    'GCFSRBlind': lambda net: [f'style_convs.{index}' for index in range(1, len(net.style_convs), 2)],
    'GCFSRDiscriminator': lambda net: [f'conv_body.{index}' for index in range(1, len(net.conv_body))],
    'StyleGAN2Discriminator': lambda net: [f'conv_body.{index}' for index in range(1, len(net.conv_body))],
    'SRGANDiscriminator': lambda net: [f'features.{index}' for index in range(len(net.features))],
    'UNetDiscriminatorSN': lambda net: [f'conv{index}' for index in range(9)],
}


def blocks(net: nn.Module) -> list[str]:
    """The names of a network's blocks, first to last; empty where they are not known.

    A block of SRVGGNetCompact is a convolution with its activation, and is named after the activation.
    """
    name = type(net).__name__
    if name in NAMES:
        return NAMES[name](net)
    body = getattr(net, 'body', None)
    if not isinstance(body, nn.ModuleList | nn.Sequential):
        return []
    step = FAMILIES[name].step if name in FAMILIES else 1
    return [f'body.{index}' for index in range(step - 1, len(body) // step * step, step)]


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
        if loss.same_names and kinds[0] != kinds[1] and all(places) \
                and any(places[0].get(name) != places[1].get(name) for name in loss.layers):
            raise UserError(f'{key}: a list names the same layers in both networks, but {kinds[0]} and {kinds[1]} '
                            'count theirs differently; write a number of depths, such as 4, or a mapping '
                            'student: teacher')
        return
    for net, kind in zip((student, teacher), kinds, strict=True):
        found = len(blocks(net))
        if not found:
            raise UserError(f'{key}: the blocks of {kind} are not known; name its layers: a list, or a mapping '
                            'student: teacher')
        if found < loss.depths:
            raise UserError(f'{key}: {kind} has {found} blocks, which is less than {loss.depths} depths; use '
                            f'{found} or less')
    loss.layers = dict(zip(spread(blocks(student), loss.depths), spread(blocks(teacher), loss.depths), strict=True))
