"""Safe reading and writing of weights, from files or by known names.

A name is imported at its first use: most modules import torch, for which `sdakd weights list` need not wait.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same for type checkers
    from sdakd_plugin.families.identity import Identity as Identity
    from sdakd_plugin.families.registry import identify as identify
    from sdakd_plugin.weights.fetch import load as load
    from sdakd_plugin.weights.fetch import resolve as resolve
    from sdakd_plugin.weights.files import atomic_save as atomic_save
    from sdakd_plugin.weights.files import load_state_dict as load_state_dict
    from sdakd_plugin.weights.fit import load_into as load_into
    from sdakd_plugin.weights.known import KNOWN as KNOWN
    from sdakd_plugin.weights.known import KnownWeights as KnownWeights
    from sdakd_plugin.weights.ncnn import convert as convert
    from sdakd_plugin.weights.ncnn import read_ncnn as read_ncnn
    from sdakd_plugin.weights.places import cache_dir as cache_dir

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
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:  # also a module of this package, which Python then imports
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'sdakd_plugin.{HOMES[name]}'), name)
