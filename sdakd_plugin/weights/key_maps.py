"""Translates the keys of state dicts from other projects.

leftthomas/SRGAN (MIT), ``netG_epoch_4_100.pth``: an ``SRGANGenerator`` whose options are ``LEFTTHOMAS_NETWORK``.

======================================  =================================
leftthomas                              here
======================================  =================================
``block1.0.*``, ``block1.1.weight``     ``conv_first.*``, ``act_first.weight``
``block2.conv1.*`` ... ``block6.bn2.*`` ``body.0.conv1.*`` ... ``body.4.bn2.*``
``block2.prelu.weight``                 ``body.0.act.weight``
``block7.0.*``, ``block7.1.weight``     ``conv_body.*``, ``fuse.weight``
``block8.0.conv.*``, ``.prelu.weight``  ``upsample.0.conv.*``, ``.act.weight``
``block8.2.*``                          ``conv_last.*``
======================================  =================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

LEFTTHOMAS_NETWORK = {'type': 'SRGANGenerator', 'num_block': 5, 'upscale': 4, 'fusion': 'prelu', 'output': 'tanh'}

LEFTTHOMAS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r'block1\.0\.(\w+)', r'conv_first.\1'),
    (r'block1\.1\.weight', 'act_first.weight'),
    (r'block([2-6])\.prelu\.weight', lambda match: f'body.{int(match[1]) - 2}.act.weight'),
    (
        r'block([2-6])\.(conv|bn)([12])\.(\w+)',
        lambda match: f'body.{int(match[1]) - 2}.{match[2]}{match[3]}.{match[4]}',
    ),
    (r'block7\.0\.(\w+)', r'conv_body.\1'),
    (r'block7\.1\.weight', 'fuse.weight'),
    (r'block8\.(\d)\.conv\.(\w+)', r'upsample.\1.conv.\2'),
    (r'block8\.(\d)\.prelu\.weight', r'upsample.\1.act.weight'),
    (r'block8\.\d\.(weight|bias)', r'conv_last.\1'),  # the only convolution directly in block8, at any scale
)


def matches(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is a generator of leftthomas/SRGAN: all keys are in the table, first and last included."""
    return {'block1.0.weight', 'block7.1.weight'} <= state.keys() and all(_renamed(key) for key in state)


def leftthomas_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the keys of ``SRGANGenerator``; they load strictly into ``LEFTTHOMAS_NETWORK``.

    Args:
        state: a state dict of leftthomas/SRGAN.

    Raises:
        ValueError: ``matches`` is false for the state dict.
    """
    if not matches(state):
        raise ValueError('not a state dict of leftthomas/SRGAN')
    return {str(_renamed(key)): value for key, value in state.items()}


def _renamed(key: str) -> str | None:
    for pattern, replacement in LEFTTHOMAS:
        if match := re.fullmatch(pattern, key):
            return replacement(match) if callable(replacement) else match.expand(replacement)
    return None
