"""Safe reading and writing of weights, from files or by known names.

A name is imported at its first use: most modules import torch, for which `sdakd weights list` need not wait.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdakd_plugin.families.identity import Identity
    from sdakd_plugin.families.registry import identify
    from sdakd_plugin.weights.fetch import load, resolve
    from sdakd_plugin.weights.files import atomic_save, load_state_dict
    from sdakd_plugin.weights.fit import load_into
    from sdakd_plugin.weights.known import KNOWN, KnownWeights
    from sdakd_plugin.weights.ncnn import convert, read_ncnn
    from sdakd_plugin.weights.places import cache_dir

HOMES = {
    'KNOWN': 'weights.known',
    'Identity': 'families.identity',
    'KnownWeights': 'weights.known',
    'atomic_save': 'weights.files',
    'cache_dir': 'weights.places',
    'convert': 'weights.ncnn',
    'identify': 'families.registry',
    'load': 'weights.fetch',
    'load_into': 'weights.fit',
    'load_state_dict': 'weights.files',
    'read_ncnn': 'weights.ncnn',
    'resolve': 'weights.fetch',
}

__all__ = [
    'KNOWN',
    'Identity',
    'KnownWeights',
    'atomic_save',
    'cache_dir',
    'convert',
    'identify',
    'load',
    'load_into',
    'load_state_dict',
    'read_ncnn',
    'resolve',
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:  # also a module of this package, which Python then imports
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'sdakd_plugin.{HOMES[name]}'), name)
