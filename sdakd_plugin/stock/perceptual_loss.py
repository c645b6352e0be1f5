"""Provides the VGG weights of BasicSR's ``PerceptualLoss`` before BasicSR looks for them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from basicsr.archs import vgg_arch

from sdakd_plugin.errors import UserError
from sdakd_plugin.losses.backbone import fetch, load_features, source


@contextmanager
def local_vgg(vgg_type: str) -> Iterator[None]:
    """Let BasicSR's ``VGGFeatureExtractor`` find the weights of a VGG inside the block.

    BasicSR loads ``experiments/pretrained_models/vgg19-dcbb9e9d.pth`` for every type. If that file belongs to another
    type, it is ignored here and torchvision's file is used.

    Args:
        vgg_type: torchvision's name, such as ``vgg19``. BasicSR reports unknown names itself.

    Raises:
        UserError: the weights are missing and cannot be downloaded, or are damaged.
    """
    if str(vgg_type).removesuffix('_bn') not in vgg_arch.NAMES:
        yield
        return
    local = vgg_arch.VGG_PRETRAIN_PATH
    own = os.path.exists(local) and (vgg_type == 'vgg19' or _is_of(local, vgg_type))
    place = f'put it at {os.path.abspath(local)}' if vgg_type == 'vgg19' else 'keep its name'
    file = local if own else fetch(vgg_type, place)
    vgg_arch.VGG_PRETRAIN_PATH = local if own else ''
    try:
        yield
    except NotImplementedError:  # a RuntimeError, but about another option
        raise
    except (EOFError, IndexError, KeyError, pickle.UnpicklingError, RuntimeError) as error:
        reason = f'{type(error).__name__}: {error}'.strip()[:200]
        raise UserError(
            f'{file} is damaged, or does not hold all weights of {source(vgg_type)}: {reason}; delete '
            'it to download them again'
        ) from error
    finally:
        vgg_arch.VGG_PRETRAIN_PATH = local


def _is_of(file: str, vgg_type: str) -> bool:
    try:
        load_features(vgg_type, file, 'vgg_type')
    except UserError:
        return False
    return True
