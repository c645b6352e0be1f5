"""Look-ups in BasicSR's registries that print nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basicsr.utils.registry import Registry

SUFFIX = '_basicsr'  # of BasicSR's classes that another project registers under the same name


def full_name(registry: Registry, name: str) -> str:
    """The name in a registry of the class that an option file calls ``name``.

    ``Registry.get`` also finds it, but prints a line each time that it adds the suffix.
    """
    return name if name in registry or f'{name}{SUFFIX}' not in registry else f'{name}{SUFFIX}'


def look_up(registry: Registry, name: str) -> Any:
    """``registry.get(name)`` without its printed line.

    Raises:
        KeyError: the name is not registered.
    """
    return registry.get(full_name(registry, name))
