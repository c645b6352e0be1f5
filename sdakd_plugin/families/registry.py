"""The families of networks that are known here, and which of them a network or a state dict belongs to.

A family is found by class name, as an option file names it: Real-ESRGAN's own package has copies of some of BasicSR's
classes under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from torch import Tensor, nn

from sdakd_plugin.families import (
    discriminators,
    gcfsr,
    msrresnet,
    rrdbnet,
    srgan_generator,
    srvgg,
    stylegan2_discriminators,
    swinir,
)
from sdakd_plugin.families.family import Family, unwrap
from sdakd_plugin.families.identity import Identity

OTHER = Family(names=())  # a network of which nothing is known is called plainly

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
]


def register(family: Family) -> Family:
    """Add a family of one's own, before the networks of its kind are loaded or trained.

    Raises:
        ValueError: another family has one of its names.
    """
    taken = [name for name in family.names if family_named(name) is not OTHER]
    if taken:
        raise ValueError(f'there is a family of {", ".join(taken)} already')
    FAMILIES.append(family)
    return family


def unregister(family: Family) -> None:
    """Remove a family that was registered."""
    FAMILIES.remove(family)


def family_named(name: str) -> Family:
    """The family of a network's ``type``, ``OTHER`` if there is none."""
    return next((family for family in FAMILIES if name in family.names), OTHER)


def family_of(net: nn.Module) -> Family:
    """The family of a network, in a distributed wrapper or bare; that of its parent class if it has none of its own,
    and ``OTHER`` if there is none at all."""
    found = (family_named(kind.__name__) for kind in type(unwrap(net)).__mro__)
    return next((family for family in found if family is not OTHER), OTHER)


def identify(state: Mapping[str, Tensor]) -> Identity | None:
    """Tell the network of a state dict, or ``None`` if it is of no known family.

    A family reads the hyper-parameters off a few shapes and lists every tensor that such a network has. It is believed
    only if that list is the state dict's, so an identity always rebuilds a network that loads strictly. Options that
    leave no trace in the shapes keep their defaults, such as ``skip_connection`` of UNetDiscriminatorSN.

    Args:
        state: tensors by name; only their shapes are read.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items() if not key.endswith('num_batches_tracked')}
    for family in FAMILIES:
        if family.recognise is None:
            continue
        with suppress(KeyError, IndexError, ValueError, ArithmeticError):  # lacks what the family looks at
            identity, expected = family.recognise(shapes)
            if expected == shapes:
                return identity
    return None


def blocks(net: nn.Module) -> list[str]:
    """The names of a network's blocks, first to last; empty where they are not known.

    Args:
        net: not wrapped.
    """
    family = family_of(net)
    if family.blocks is not None:
        return family.blocks(net)
    body = getattr(net, 'body', None)
    if not isinstance(body, nn.ModuleList | nn.Sequential):
        return []
    return [f'body.{index}' for index in range(family.step - 1, len(body) // family.step * family.step, family.step)]


def slimmable() -> list[str]:
    """The types of network whose students can start from their teacher."""
    return [name for family in FAMILIES if family.wire is not None for name in family.names]
