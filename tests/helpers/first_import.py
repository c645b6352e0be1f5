"""Imports each given module in a child of its own, before BasicSR, and prints those after which a class of the plugin
is missing in BasicSR."""

import os
import posix
import sys
from importlib import import_module

# what costs most of an import, and nothing of BasicSR or of the plugin's packages
import cv2  # noqa: F401
import lpips  # noqa: F401
import mmengine.registry  # noqa: F401
import pydantic  # noqa: F401
import scipy  # noqa: F401
import skimage  # noqa: F401
import torchvision.models  # noqa: F401

REGISTERED = {
    'ARCH_REGISTRY': ('GCFSR', 'SRGANGenerator', 'StudentDiscriminator'),
    'DATASET_REGISTRY': ('PhotoDataset', 'SampleImageDataset'),
    'LOSS_REGISTRY': ('LPIPSLoss', 'MutualDiscriminatorLoss'),
    'METRIC_REGISTRY': ('calculate_lpips',),
    'MODEL_REGISTRY': ('SDAKDModel', 'MutualSRGANModel'),
}


def missing(module: str) -> list[str]:
    import_module(module)
    import basicsr  # noqa: F401
    from basicsr.utils import registry

    return [name for key, names in REGISTERED.items() for name in names if name not in getattr(registry, key)]


def check(module: str) -> int:
    try:
        absent = missing(module)
    except BaseException as error:
        absent = [repr(error)]
    if absent:
        print(module, *absent, flush=True)
    return bool(absent)


if __name__ == '__main__':
    assert 'basicsr' not in sys.modules
    for name in sys.argv[1:]:
        child = posix.fork()  # which is there with --like-windows too
        if not child:
            os._exit(check(name))
        os.waitpid(child, 0)
    print('checked', len(sys.argv) - 1)
