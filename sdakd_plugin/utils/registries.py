"""BasicSR's registries, asked without their answer on standard output."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import Registry

SUFFIX = '_basicsr'  # of classes that another project registers under the same name


def full_name(registry: Registry, name: str) -> str:
    """The name under which a registry holds what an option file calls ``name``.

    ``Registry.get`` finds it by itself, but prints a line each time that it has to add the suffix.
    """
    return name if name in registry or f'{name}{SUFFIX}' not in registry else f'{name}{SUFFIX}'


def look_up(registry: Registry, name: str) -> Any:
    """``registry.get(name)``, in silence.

    Raises:
        KeyError: there is nothing of that name.
    """
    return registry.get(full_name(registry, name))
