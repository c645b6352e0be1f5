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

ESRGAN, an ``RRDBNet`` of scale 4, in the two forms that came before BasicSR's: as the layers of a Sequential
(``RRDB_ESRGAN_x4_old_arch.pth``, and most that were trained by its users), and under names of its own
(``RRDB_ESRGAN_x4.pth``, BSRGAN, RealSR).

===================================  =============================  ==========================
Sequential                           own names                      here
===================================  =============================  ==========================
``model.0.*``                        ``conv_first.*``               ``conv_first.*``
``model.1.sub.0.RDB1.conv1.0.*``     ``RRDB_trunk.0.RDB1.conv1.*``  ``body.0.rdb1.conv1.*``
``model.1.sub.23.*`` (23 blocks)     ``trunk_conv.*``               ``conv_body.*``
``model.3.*``, ``model.6.*``         ``upconv1.*``, ``upconv2.*``   ``conv_up1.*``, ``conv_up2.*``
``model.8.*``, ``model.10.*``        ``HRconv.*``, ``conv_last.*``  ``conv_hr.*``, ``conv_last.*``
===================================  =============================  ==========================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

Table = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


class Project(NamedTuple):
    """Attributes: first, last (two keys of every state dict), table (patterns of its keys, and their replacements)."""

    first: str
    last: str
    table: Table


LEFTTHOMAS_NETWORK = {'type': 'SRGANGenerator', 'num_block': 5, 'upscale': 4, 'fusion': 'prelu', 'output': 'tanh'}

LEFTTHOMAS: Table = (
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


ESRGAN_SEQUENTIAL: Table = (
    (r'model\.0\.(\w+)', r'conv_first.\1'),
    (r'model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(\w+)', r'body.\1.rdb\2.conv\3.\4'),
    (r'model\.1\.sub\.\d+\.(weight|bias)', r'conv_body.\1'),
    (r'model\.3\.(\w+)', r'conv_up1.\1'),
    (r'model\.6\.(\w+)', r'conv_up2.\1'),
    (r'model\.8\.(\w+)', r'conv_hr.\1'),
    (r'model\.10\.(\w+)', r'conv_last.\1'),
)

ESRGAN_NAMES: Table = (
    (r'(conv_first|conv_last)\.(\w+)', r'\1.\2'),
    (r'RRDB_trunk\.(\d+)\.RDB([123])\.conv([1-5])\.(\w+)', r'body.\1.rdb\2.conv\3.\4'),
    (r'trunk_conv\.(\w+)', r'conv_body.\1'),
    (r'upconv([12])\.(\w+)', r'conv_up\1.\2'),
    (r'HRconv\.(\w+)', r'conv_hr.\1'),
)

PROJECTS = (
    Project('block1.0.weight', 'block7.1.weight', LEFTTHOMAS),
    Project('model.0.weight', 'model.10.weight', ESRGAN_SEQUENTIAL),
    Project('RRDB_trunk.0.RDB1.conv1.weight', 'HRconv.weight', ESRGAN_NAMES),
)


def translated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the keys of the networks here, if all keys are those of one of the projects, the first and the
    last included; otherwise unchanged."""
    for project in PROJECTS:
        names = {key: _renamed(key, project.table) for key in state}
        if {project.first, project.last} <= names.keys() and all(names.values()):
            return {str(names[key]): value for key, value in state.items()}
    return dict(state)


def _renamed(key: str, table: Table) -> str | None:
    for pattern, replacement in table:
        if match := re.fullmatch(pattern, key):
            return replacement(match) if callable(replacement) else match.expand(replacement)
    return None
