"""Cuts the initial weights of a student out of its teacher: a subset of its channels, and blocks spread over its depth.

The channels are evenly spaced, or those whose filters have the largest L1 norm, as in GAN Compression (Li et al., CVPR
2020, ``transfer_weight``); here the norm is summed over all layers that write to a group of channels.
``docs/slimming.md`` compares the two. A student of the teacher's size equals the teacher, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from inspect import signature
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.registry import family_of, slimmable
from sdakd_plugin.families.wiring import Wiring
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import TeacherOptions

Sizes = dict[str, int]  # channels of each group
REDUCIBLE = ('num_feat', 'num_grow_ch', 'narrow', 'channel_multiplier', 'num_block', 'num_conv', 'feature_channels')


def weights_from_teacher(
    student: nn.Module, network: Mapping[str, Any], options: TeacherOptions | None, role: str
) -> dict[str, Tensor]:
    """The initial weights of a student whose option file has ``teacher`` instead of a weight file.

    Args:
        student: the generator of the student, not wrapped; not changed.
        network: its option block.
        options: the block ``teacher``.
        role: the key whose value is ``teacher``; every message begins with it.

    Returns:
        A state dict for the student, on the CPU.

    Raises:
        UserError: there is no teacher, its weights cannot be loaded, or the student cannot be cut out of it.
    """
    if options is None:
        raise UserError(f'{role}: teacher: the block teacher is missing')
    teacher, block = load_frozen(options.network_g, options.pretrain_network_g, options.param_key_g, 'g')
    check_fit(arguments(student, network), arguments(teacher, block), role)
    return slim(teacher, student, options.channels)


def arguments(net: nn.Module, block: Mapping[str, Any]) -> dict[str, Any]:
    """The type of a network and all arguments of its constructor, including the defaults."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in block.items() if key != 'type'}
    bound = signature(type(net)).bind(**given)
    bound.apply_defaults()
    return {'type': type(net).__name__, **bound.arguments}


def check_fit(student: Mapping[str, Any], teacher: Mapping[str, Any], role: str) -> None:
    """Raise a UserError unless the student equals the teacher or differs only in having fewer channels or blocks."""
    if student['type'] not in slimmable():
        raise UserError(
            f'{role}: teacher: a {student["type"]} cannot start from its teacher; these can: ' + ', '.join(slimmable())
        )
    for key, value in student.items():
        limit = teacher.get(key)  # the type comes first, so the other arguments are the same
        reducible = key in REDUCIBLE
        if value != limit and not (reducible and value < limit):
            raise UserError(
                f'{role}: teacher: network_g.{key} is {value}, but the teacher has {limit}; use {limit}'
                + (' or less' if reducible else '')
            )


def slim(teacher: nn.Module, student: nn.Module, channels: Literal['even', 'l1'] = 'even') -> dict[str, Tensor]:
    """Cut a student's weights out of its teacher's.

    Args:
        teacher, student: networks of the same ``slimmable`` family, the student with no more channels or blocks than
            the teacher; neither is changed.
        channels: which channels of each group to keep: evenly spaced ones, or those with the largest L1 norm.

    Returns:
        A state dict that the student loads strictly.
    """
    wire = family_of(student).wire
    assert wire is not None  # check_fit rejects other families
    wiring = wire(student)
    state = in_terms_of(student, teacher)
    before, after = group_sizes(state, wiring), group_sizes(student.state_dict(), wiring)
    scores = importance(state, wiring, before)
    kept = {group: choose(scores[group], after[group], channels) for group in before}
    for key, tensor in state.items():
        for axis, groups in axes(key, tensor, wiring).items():
            tensor = tensor.index_select(axis, entries(groups, kept, before, tensor.shape[axis]))
        state[key] = tensor
    return state


def in_terms_of(student: nn.Module, teacher: nn.Module) -> dict[str, Tensor]:
    """The teacher's tensors at full width under the student's names; blocks are evenly spaced, with first and last.

    StyleGAN2's layers multiply their weights by a ``scale`` that depends on the number of inputs. The weights are
    rescaled accordingly, so that the kept channels compute the same as before.
    """
    bodies = [len(getattr(net, 'body', ())) for net in (teacher, student)]
    step = family_of(student).step
    blocks = spread(*(-(-length // step) for length in bodies))
    entry = [step * block + part for block in blocks for part in range(step)]
    origin = teacher.state_dict()
    state = {}
    for key in student.state_dict():
        old = re.sub(r'^body\.(\d+)\.', lambda match: f'body.{entry[int(match[1])]}.', key)
        tensor = origin[old].cpu()
        if key.endswith('.weight'):
            tensor = tensor * (layer_scale(teacher, old) / layer_scale(student, key))
        state[key] = tensor
    return state


def layer_scale(net: nn.Module, key: str) -> float:
    """The factor by which the layer of a weight multiplies it."""
    return getattr(net.get_submodule(layer_of(key)), 'scale', 1.0)


def spread(count: int, chosen: int) -> list[int]:
    """``chosen`` evenly spaced indices from the first to the last of ``range(count)``."""
    return [index * (count - 1) // max(chosen - 1, 1) for index in range(chosen)]


def choose(scores: Tensor, count: int, channels: str) -> Tensor:
    """The indices of the channels to keep, in ascending order."""
    if channels == 'even':
        return torch.tensor(spread(len(scores), count))
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def axes(key: str, tensor: Tensor, wiring: Wiring) -> dict[int, tuple[str, ...]]:
    """The groups along the axes of a tensor that depend on the width, by axis."""
    layer = wiring.get(layer_of(key))
    if layer is None or tensor.numel() == 1:  # a shared slope, or BatchNorm's counter
        return {}
    axis = output_axis(tensor)
    return {axis: (layer.writes,)} | ({axis + 1: layer.reads} if tensor.dim() > 1 else {})


def layer_of(key: str) -> str:
    """The name of the layer that a tensor of a state dict belongs to."""
    return key.rpartition('.')[0]


def output_axis(tensor: Tensor) -> int:
    """The axis of the channels that a layer writes; StyleGAN2's modulated weights begin with a batch axis."""
    return 1 if tensor.dim() == 5 else 0


def group_sizes(state: Mapping[str, Tensor], wiring: Wiring) -> Sizes:
    """The number of channels of each group: its shortest axis, since pixel shuffle and flattening lengthen an axis."""
    sizes: Sizes = {}
    for key, tensor in state.items():
        for axis, groups in axes(key, tensor, wiring).items():
            if len(groups) == 1:
                sizes[groups[0]] = min(tensor.shape[axis], sizes.get(groups[0], tensor.shape[axis]))
    return sizes


def importance(state: Mapping[str, Tensor], wiring: Wiring, sizes: Sizes) -> dict[str, Tensor]:
    """The L1 norm of all convolution filters that write a channel, by group: ``(channels,)``."""
    scores = {group: torch.zeros(size) for group, size in sizes.items()}
    for key, tensor in state.items():
        layer = wiring.get(layer_of(key))
        if layer is not None and tensor.dim() >= 4:
            norms = tensor.abs().transpose(0, output_axis(tensor)).flatten(1).sum(1)
            scores[layer.writes] += norms.view(sizes[layer.writes], -1).sum(1)
    return scores


def entries(groups: Iterable[str], kept: Mapping[str, Tensor], sizes: Sizes, length: int) -> Tensor:
    """The indices of the kept channels along an axis of concatenated groups.

    On an axis that is longer than its groups, each channel has several consecutive entries, as pixel shuffle and
    flattening order them.
    """
    starts = accumulate((sizes[group] for group in groups), initial=0)
    channels = torch.cat([start + kept[group] for group, start in zip(groups, starts, strict=False)])
    each = length // sum(sizes[group] for group in groups)
    return (channels[:, None] * each + torch.arange(each)).flatten()
