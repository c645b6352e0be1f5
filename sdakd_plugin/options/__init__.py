"""The options that the plugin adds to BasicSR's YAML, each with its type, default, range and description.

``parse`` checks an option dictionary against these declarations and returns them as objects; its messages name the key
and the closest valid one. The blocks with arguments of a class (``network_*``, ``*_opt``) are checked against the
constructor of that class when they are built (``networks/build.py``).
"""

from sdakd_plugin.options.data import DatasetOptions, LoggerOptions, MetricOptions, ValOptions
from sdakd_plugin.options.fields import shown
from sdakd_plugin.options.file import DEGRADATION_KEYS, AblateOptions, Options
from sdakd_plugin.options.losses import RampOptions, TermOptions, known_losses
from sdakd_plugin.options.networks import MemberOptions, TeacherOptions
from sdakd_plugin.options.parsing import parse
from sdakd_plugin.options.train import AmpOptions, QuantizeOptions, StageOptions, StopOptions, TrainOptions

__all__ = [
    'DEGRADATION_KEYS',
    'AblateOptions',
    'AmpOptions',
    'DatasetOptions',
    'LoggerOptions',
    'MemberOptions',
    'MetricOptions',
    'Options',
    'QuantizeOptions',
    'RampOptions',
    'StageOptions',
    'StopOptions',
    'TeacherOptions',
    'TermOptions',
    'TrainOptions',
    'ValOptions',
    'known_losses',
    'parse',
    'shown',
]
