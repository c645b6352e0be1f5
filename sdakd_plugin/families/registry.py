"""The registered families of networks, and the look-up of the family of a network or a state dict.

A family is found by class name, as in an option file, because Real-ESRGAN's own package has copies of some of BasicSR's
classes under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from torch import Tensor, nn

from sdakd_plugin.families import (
    discriminators,
    gcfsr,
    mosr,
    msrresnet,
    realplksr,
    rrdbnet,
    span,
    spandrel,
    srgan_generator,
    srvgg,
    stylegan2_discriminators,
    swinir,
)
from sdakd_plugin.families.family import Family, unwrap
from sdakd_plugin.families.identity import Identity

OTHER = Family(names=())  # the family of unknown networks, which are called as net(lq)

FAMILIES: list[Family] = [
    rrdbnet.FAMILY,
    srvgg.FAMILY,
    msrresnet.FAMILY,
    srgan_generator.FAMILY,
    discriminators.UNET,
    discriminators.VGG,
    discriminators.SRGAN,
    stylegan2_discriminators.STYLEGAN2,
    stylegan2_discriminators.GCFSR,
    gcfsr.FAMILY,
    swinir.FAMILY,
    span.FAMILY,
    realplksr.FAMILY,
    mosr.FAMILY,
]


def register(family: Family) -> Family:
    """Add a family, before its networks are loaded or trained.

    Raises:
        ValueError: another family has one of its names.
    """
    taken = [name for name in family.names if family_named(name) is not OTHER]
    if taken:
        raise ValueError(f'there is already a family of {", ".join(taken)}')
    FAMILIES.append(family)
    return family


def unregister(family: Family) -> None:
    """Remove a family that was registered."""
    FAMILIES.remove(family)


def family_named(name: str) -> Family:
    """The family of a network's ``type``; ``OTHER`` if there is none."""
    return next((family for family in FAMILIES if name in family.names), OTHER)


def family_of(net: nn.Module) -> Family:
    """The family of a network, with or without a distributed wrapper.

    If its class has no family, that of a parent class; ``OTHER`` if there is none.
    """
    if spandrel.is_of_spandrel(net):
        return spandrel.FAMILY
    found = (family_named(kind.__name__) for kind in type(unwrap(net)).__mro__)
    return next((family for family in found if family is not OTHER), OTHER)


def identify(state: Mapping[str, Tensor]) -> Identity | None:
    """Identify the network of a state dict; ``None`` if it belongs to no known family.

    A family derives the hyper-parameters from a few shapes and lists all tensors of such a network. The result is
    accepted only if that list equals the state dict, so that the identified network always loads it strictly. Options
    that do not affect the shapes, such as ``skip_connection`` of UNetDiscriminatorSN, keep their defaults.

    Args:
        state: tensors by name; only their shapes are read.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items() if not key.endswith('num_batches_tracked')}
    for family in FAMILIES:
        if family.recognise is None:
            continue
        with suppress(KeyError, IndexError, ValueError, ArithmeticError):  # lacks tensors of this family
            identity, expected = family.recognise(shapes)
            if expected == shapes:
                return identity
    return None


def blocks(net: nn.Module) -> list[str]:
    """The names of a network's blocks in forward order; empty if they are unknown.

    Args:
        net: the network, not wrapped.
    """
    family = family_of(net)
    if family.blocks is not None:
        return family.blocks(net)
    body = getattr(net, 'body', None)
    if not isinstance(body, nn.ModuleList | nn.Sequential):
        return []
    return [f'body.{index}' for index in range(family.step - 1, len(body) // family.step * family.step, family.step)]


def slimmable() -> list[str]:
    """The types of networks whose students can start from their teacher."""
    return [name for family in FAMILIES if family.wire is not None for name in family.names]
