"""The peak memory of a forward pass of a generator, measured in a separate process.

On CUDA it is the maximum that torch's allocator held, weights included (``torch.cuda.max_memory_allocated``). On a CPU
it is how far the peak of the process's resident memory (Linux' ``VmHWM``) rose above what was resident before the
network was built: weights, features, and the buffers of the convolution routines, but not torch and Python themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import folded, super_resolve
from sdakd_plugin.inference.model import load_model
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.utils.registries import look_up

STATUS = Path('/proc/self/status')
CLEAR = Path('/proc/self/clear_refs')


def peak_memory(
    networks: Sequence[Mapping[str, Any] | Path], sizes: Sequence[int], device: torch.device
) -> list[list[int | None]]:
    """Bytes that generators need for one image of each size: weights and the peak of a forward pass.

    Args:
        networks: their option blocks, or weight files; the weights' values do not matter.
        sizes: sides of square LQ images of three channels.
        device: where they run.

    Returns:
        For each network a list as long as ``sizes``; ``None`` for Apple's GPU, and for a CPU on systems other than
        Linux.

    Raises:
        UserError: a forward pass failed, for example for lack of memory.
    """
    if device.type == 'mps' or (device.type == 'cpu' and not STATUS.exists()):
        return [[None] * len(sizes) for _ in networks]
    blocks = [network for network in networks if not isinstance(network, Path)]
    modules = sorted({look_up(ARCH_REGISTRY, block['type']).__module__ for block in blocks})
    described = [str(network) if isinstance(network, Path) else dict(network) for network in networks]
    task = json.dumps([described, list(sizes), str(device), torch.get_num_threads(), modules])
    done = subprocess.run([sys.executable, '-m', __name__, task], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'its process ended with code {done.returncode}'])[-1]
        raise UserError(f'the memory cannot be measured: {reason}')
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def measure(network: Mapping[str, Any] | str, size: int, device: str, threads: int) -> int:
    """The bytes that one generator needs at one size, measured in this process, which should be a new one."""
    torch.set_num_threads(threads)
    nn.Conv2d(3, 8, 3).to(device)(torch.rand(1, 3, 16, 16, device=device))  # loads what torch loads on first use
    before = resident('VmRSS')
    net = load_model(network, 'network').net if isinstance(network, str) else build_network(network, 'network')
    net = folded(net.eval()).to(device)
    with suppress(OSError):
        CLEAR.write_text('5')  # resets the peak, which may be that of the imports or of reading a file
    super_resolve(net, torch.rand(1, 3, size, size, device=device))
    return torch.cuda.max_memory_allocated(device) if device != 'cpu' else resident('VmHWM') - before


def main(
    networks: Sequence[Mapping[str, Any] | str], sizes: Sequence[int], device: str, threads: int, modules: Sequence[str]
) -> list[list[int]]:
    """Measure each network and size in a new process; where it can be forked, the slow imports are made only once.

    ``modules`` are those that register the networks, which may be a user's own.
    """
    for name in modules:
        import_module(name)
    start = 'fork' if hasattr(os, 'fork') else 'spawn'  # Windows has no fork

    def alone(network: Mapping[str, Any] | str, size: int) -> int:
        with ProcessPoolExecutor(1, mp_context=get_context(start)) as process:
            return process.submit(measure, network, size, device, threads).result()

    return [[alone(network, size) for size in sizes] for network in networks]


def resident(key: str) -> int:
    """Resident memory of this process in bytes: ``VmRSS`` the current, ``VmHWM`` the peak; 0 if not on Linux."""
    if not STATUS.exists():
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024  # given in KiB


if __name__ == '__main__':
    print(json.dumps(main(*json.loads(sys.argv[1]))))
