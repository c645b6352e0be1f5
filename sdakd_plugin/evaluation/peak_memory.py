"""The memory that one pass of a generator takes, measured in a process of its own.

On CUDA it is what torch's allocator held at most, weights included (``torch.cuda.max_memory_allocated``). On a CPU it
is how far the peak of the process's resident memory (Linux' ``VmHWM``) rose above what was resident before the network
was built: weights, features, and the buffers of the convolution routines, but not torch and Python themselves.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import basicsr  # noqa: F401  # first: it registers the plugin, whose modules need it whole
import torch
from torch import nn

from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import super_resolve
from sdakd_plugin.utils.build import build_network

STATUS = Path('/proc/self/status')
CLEAR = Path('/proc/self/clear_refs')


def peak_memory(networks: Sequence[Mapping[str, Any]], sizes: Sequence[int],
                device: torch.device) -> list[list[int | None]]:
    """Bytes that generators take for one image of each size: their weights, and the peak of one pass.

    Args:
        networks: their option blocks; the weights' values do not matter.
        sizes: sides of square LQ images of three channels.
        device: where they run.

    Returns:
        For each network a list as long as ``sizes``; ``None`` on a CPU where the system does not tell, that is not on
        Linux.

    Raises:
        UserError: a pass failed, as it does where the memory is too small.
    """
    if device.type == 'cpu' and not STATUS.exists():
        return [[None] * len(sizes) for _ in networks]
    task = json.dumps([[dict(network) for network in networks], list(sizes), str(device), torch.get_num_threads()])
    done = subprocess.run([sys.executable, '-m', __name__, task], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'its process ended with code {done.returncode}'])[-1]
        raise UserError(f'the memory cannot be measured: {reason}')
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def measure(network: Mapping[str, Any], size: int, device: str, threads: int) -> int:
    """The bytes that one generator takes at one size, in this process, which should have done nothing yet."""
    torch.set_num_threads(threads)
    nn.Conv2d(3, 8, 3).to(device)(torch.rand(1, 3, 16, 16, device=device))  # what torch loads only on first use
    with suppress(OSError):
        CLEAR.write_text('5')  # the peak starts anew from what is resident; else it may be that of the imports
    before = resident('VmRSS')
    super_resolve(build_network(network, 'network').to(device).eval(), torch.rand(1, 3, size, size, device=device))
    return torch.cuda.max_memory_allocated(device) if device != 'cpu' else resident('VmHWM') - before


def main(networks: Sequence[Mapping[str, Any]], sizes: Sequence[int], device: str, threads: int) -> list[list[int]]:
    """Measure in a new process each; where they can be forked, the imports, which take seconds, are made once."""
    start = 'fork' if hasattr(os, 'fork') else 'spawn'  # Windows has no fork

    def alone(network: Mapping[str, Any], size: int) -> int:
        with ProcessPoolExecutor(1, mp_context=get_context(start)) as process:
            return process.submit(measure, network, size, device, threads).result()
    return [[alone(network, size) for size in sizes] for network in networks]


def resident(key: str) -> int:
    """Resident memory of this process in bytes: ``VmRSS`` now, ``VmHWM`` at most; 0 where the system does not tell."""
    if not STATUS.exists():
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024  # given in KiB


if __name__ == '__main__':
    print(json.dumps(main(*json.loads(sys.argv[1]))))
