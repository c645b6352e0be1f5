"""Starts ``sdakd`` under torchrun on a CPU: BasicSR's own ``init_dist`` requires NCCL."""

import sys

import basicsr  # noqa: F401 - first
import torch.multiprocessing
from basicsr.utils import options

from sdakd_plugin.cli import main


def init_dist(launcher):
    torch.multiprocessing.set_start_method('spawn')  # as BasicSR does
    torch.distributed.init_process_group('gloo')


if __name__ == '__main__':
    torch.set_num_threads(1)
    options.init_dist = init_dist
    sys.exit(main())
