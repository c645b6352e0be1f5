"""Builds networks and other registered classes from option blocks; errors name the key of the block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from basicsr.archs import build_network as basicsr_build_network
from basicsr.utils.registry import ARCH_REGISTRY, Registry
from torch import nn

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.utils.registries import full_name, look_up


def build_network(block: Mapping[str, Any], key: str) -> nn.Module:
    """Build the network of an option block.

    Args:
        block: ``type`` and the arguments of the constructor.
        key: key of the block in the option file, for messages.

    Raises:
        UserError: unknown type or argument, or values that the network rejects.
    """
    return build(basicsr_build_network, ARCH_REGISTRY, block, key)


def registered(registry: Registry) -> list[str]:
    """The names of a registry's entries in an option file."""
    return [name.removesuffix('_basicsr') for name, _ in registry]


def build(
    constructor: Callable[[dict[str, Any]], nn.Module], registry: Registry, block: Mapping[str, Any], key: str
) -> nn.Module:
    """Call BasicSR's ``build_network`` or ``build_loss``.

    Args:
        constructor: one of these functions.
        registry: the registry in which it looks up ``type``.
        block: ``type`` and the arguments of the constructor.
        key: key of the block in the option file.

    Raises:
        UserError: unknown type or argument, or values that the class rejects.
    """
    check_call(registry, block, key)
    try:
        return constructor({**block, 'type': full_name(registry, block['type'])})
    except UserError as error:
        raise UserError(f'{key}: {error}') from None
    except OSError as error:  # from a user's own loss or network that loads weights
        raise UserError(f'{key}: {block["type"]} cannot load its weights ({error})') from error
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f'{key}: {block["type"]} cannot be built: {type(error).__name__}: {error}') from error


def check_call(
    registry: Registry, block: Any, key: str, given: Collection[str] = (), besides: Collection[str] = ()
) -> None:
    """Check the ``type`` of a block against a registry, and its other keys against the signature of that class.

    Args:
        registry: one of BasicSR's registries.
        block: the option block.
        key: key of the block in the option file.
        given: arguments that the caller supplies.
        besides: keys that are no arguments.

    Raises:
        UserError: unknown type, or unknown or missing argument.
    """
    if not isinstance(block, Mapping) or 'type' not in block:
        raise UserError(f'{key}: expected a block with the key type')
    name = block['type']
    if name not in registered(registry):
        raise UserError(f"{key}.type: there is no '{name}'" + nearest(name, registered(registry)))
    parameters = inspect.signature(look_up(registry, name)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    valid = [*(parameter.name for parameter in parameters if parameter.name not in given), *besides]
    for argument in block:
        if argument != 'type' and argument not in valid:
            raise UserError(f"{key}: unknown key '{argument}' for {name}" + nearest(argument, valid))
    for parameter in parameters:
        if (
            parameter.default is parameter.empty
            and parameter.kind is not parameter.VAR_POSITIONAL
            and parameter.name not in {*block, *given}
        ):
            raise UserError(f"{key}: {name} needs the key '{parameter.name}'")
