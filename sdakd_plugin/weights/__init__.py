"""Safe reading and writing of weights, from files or by known names."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdakd_plugin.weights.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """The names of ``public``, which is imported at their first use: `sdakd weights list` need not wait for torch."""
    return getattr(import_module('sdakd_plugin.weights.public'), name)
