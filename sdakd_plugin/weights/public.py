"""The names of ``sdakd_plugin.weights``."""

from sdakd_plugin.families.identity import Identity
from sdakd_plugin.families.registry import identify
from sdakd_plugin.weights.fetch import load, resolve
from sdakd_plugin.weights.files import atomic_save, load_state_dict
from sdakd_plugin.weights.fit import load_into
from sdakd_plugin.weights.known import KNOWN, KnownWeights
from sdakd_plugin.weights.ncnn import convert, read_ncnn
from sdakd_plugin.weights.places import cache_dir

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
