"""The student discriminator of SDAKD: a narrower network of the teacher's family, with that family's checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from sdakd_plugin.archs.stylegan2_native import to_native
from sdakd_plugin.errors import UserError, nearest

# StyleGAN2's channels for narrow 1, by resolution; from 64x64 on also multiplied by channel_multiplier
STYLEGAN2_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
ROUNDING = 1e-3  # tolerance in channels: YAML cannot represent 1/3, so 0.333333 of 48 channels counts as 16


@ARCH_REGISTRY.register()
def StudentDiscriminator(teacher: Mapping[str, Any], width: float) -> nn.Module:
    """Build the teacher's network at a fraction of its width, with the same input, output and state-dict keys.

    The arguments of the constructor determine how the network is narrowed: by ``num_feat``, the channels of the first
    layer, of which all other widths are multiples (UNetDiscriminatorSN, VGGStyleDiscriminator), or by ``narrow``, a
    factor on every layer (StyleGAN2Discriminator and similar ones; their layers are replaced by ones that need no
    compiled extension). UNetDiscriminatorSN has 4,377k parameters, and 1,095k at half its width.

    Args:
        teacher: the option block of the teacher, ``type`` and its arguments; not changed.
        width: greater than 0, at most 1, and such that every layer has a whole number of channels.

    Raises:
        UserError: unknown type, unknown or missing argument, a family that cannot be narrowed, or a width that gives a
            fractional number of channels; the message then suggests the closest valid widths.
    """
    family = _family(teacher)
    arguments = {key: value for key, value in teacher.items() if key != 'type'}
    values = _values(family, teacher['type'], arguments)
    if 'num_feat' in values:
        num_feat = _number('teacher.num_feat', values['num_feat'])
        arguments['num_feat'] = round(num_feat * whole_width([num_feat], width))
    elif 'narrow' in values:
        channels = stylegan2_channels(values)
        # the channels at 4x4 are 512 * narrow; 512 is a power of two, so the network's int() does not truncate
        arguments['narrow'] = round(channels[0] * whole_width(channels, width)) / STYLEGAN2_CHANNELS[4]
    else:
        raise UserError(
            f'teacher.type: {teacher["type"]} has neither num_feat nor narrow to make it narrower; '
            f'valid: {", ".join(supported())}'
        )
    return to_native(family(**arguments))


def whole_width(channels: list[float], width: float) -> float:
    """Return ``width`` without the rounding of the YAML file: the fraction that makes all ``channels`` whole numbers.

    Raises:
        UserError: ``width`` is not in 0..1, or gives a fractional number of channels; the message then suggests the
            closest valid widths.
    """
    if not 0 < _number('width', width) <= 1:
        raise UserError(f'width: {width} is not greater than 0 and at most 1')
    fewest = min(channels)
    valid = [
        count / fewest
        for count in range(1, int(fewest) + 1)
        if all(_part(channel * count / fewest) < ROUNDING for channel in channels)
    ]
    closest = sorted(valid, key=lambda valid_width: abs(valid_width - width))
    if closest and abs(closest[0] - width) * max(channels) < ROUNDING:
        return closest[0]
    worst = max(channels, key=lambda channel: _part(channel * width))
    offers = [f'{offer:.6g} ({offer * worst:.0f} of {worst:g})' for offer in sorted(closest[:2])]
    raise UserError(
        f'width: {width} of {worst:g} channels is {worst * width:g}, not a whole number; closest valid widths: '
        + (' and '.join(offers) or 'none')
    )


def stylegan2_channels(values: Mapping[str, Any]) -> list[float]:
    """The channels of a StyleGAN2 network at each resolution from 4 to ``out_size``, from its arguments.

    Raises:
        UserError: ``out_size`` is not a power of two from 4 to 1024.
    """
    if values.get('out_size') not in list(STYLEGAN2_CHANNELS):
        raise UserError(
            f'teacher.out_size: {values.get("out_size")} is not one of ' + ', '.join(map(str, STYLEGAN2_CHANNELS))
        )
    narrow = _number('teacher.narrow', values['narrow'])
    multiplier = _number('teacher.channel_multiplier', values.get('channel_multiplier', 1))
    return [
        count * narrow * (multiplier if size >= 64 else 1)
        for size, count in STYLEGAN2_CHANNELS.items()
        if size <= values['out_size']
    ]


def supported() -> list[str]:
    """The names of the registered discriminators that can be narrowed."""
    return sorted(
        {
            name.removesuffix('_basicsr')
            for name, family in ARCH_REGISTRY
            if 'Discriminator' in name and {'num_feat', 'narrow'} & set(inspect.signature(family).parameters)
        }
    )


def _family(teacher: Any) -> Callable[..., nn.Module]:
    if not isinstance(teacher, Mapping) or 'type' not in teacher:
        raise UserError('teacher: expected a network block with the key type')
    name = str(teacher['type'])
    if name not in ARCH_REGISTRY and f'{name}_basicsr' not in ARCH_REGISTRY:
        names = [known.removesuffix('_basicsr') for known, _ in ARCH_REGISTRY]
        raise UserError(f"teacher.type: there is no '{name}'{nearest(name, names)}")
    # get() would find the name with the suffix itself, but prints a line
    return ARCH_REGISTRY.get(name if name in ARCH_REGISTRY else f'{name}_basicsr')


def _values(family: Callable[..., nn.Module], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of the constructor: the given ones and the defaults."""
    parameters = inspect.signature(family).parameters
    for key in arguments:
        if key not in parameters:
            raise UserError(f"teacher: unknown key '{key}' for {name}{nearest(key, parameters)}")
    values = {key: arguments.get(key, parameter.default) for key, parameter in parameters.items()}
    for key, value in values.items():
        if value is inspect.Parameter.empty:
            raise UserError(f"teacher: {name} needs the key '{key}'")
    return values


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f'{key}: {value!r} is not a number')
    return value


def _part(channels: float) -> float:
    """The distance of a number of channels from a whole number."""
    return abs(channels - round(channels))
