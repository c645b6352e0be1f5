"""What is measured, at which size, with which options under test."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.cost import machine

DEFAULTS = {  # batch and gt_size: small enough for two CPU cores; the option files' own sizes for a GPU
    'sdakd': {'cpu': (2, 128), 'cuda': (12, 256)},
    'mutual': {'cpu': (2, 96), 'cuda': (16, 96)},
    'gcfsr': {'cpu': (2, 64), 'cuda': (3, 512)},
}
SCALE = 4


@dataclass(frozen=True)
class Setting:
    """One measurement's sizes and options, as ``add_arguments`` explains them; None for the option file's own."""

    model: str
    device: torch.device
    batch: int
    gt_size: int
    width: float = 0.5
    blocks: int | None = None
    cohort: int = 2
    channels_last: bool = False

    @property
    def size(self) -> str:
        """The batch in words."""
        return f'{self.batch} crop{"s" * (self.batch > 1)} of {self.gt_size}x{self.gt_size}'

    @property
    def words(self) -> str:
        """The setting in a line."""
        tested = 'channels_last: true' if self.channels_last else 'float32'
        who = f'a cohort of {self.cohort}' if self.model == 'mutual' else f'students of width {self.width:g}'
        return f'{self.size}, {who}{f", {self.blocks} blocks" if self.blocks else ""}, {tested}'

    @property
    def where(self) -> str:
        """The machine and torch's version."""
        kind = f' ({torch.backends.cpu.get_cpu_capability()})' if self.device.type == 'cpu' else ''
        return f'{machine(self.device)}{kind}, torch {torch.__version__}'

    def images(self) -> dict[str, Tensor]:
        """A batch as a loader gives it: ``lq`` and ``gt``, (n, 3, h, w), range 0..1, noise."""
        generator = torch.Generator().manual_seed(0)
        sides = {'lq': self.gt_size // SCALE, 'gt': self.gt_size}
        noise = {key: torch.rand(self.batch, 3, side, side, generator=generator) for key, side in sides.items()}
        return {key: images.to(self.device) for key, images in noise.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sizes and options on the command line, which ``from_arguments`` reads."""
    parser.add_argument('--batch', type=int, metavar='N', help='images of a step (what fits)')
    parser.add_argument('--gt-size', type=int, metavar='N', help='side of their ground truth (what fits)')
    width = "channels of the student and its discriminator over the full size's (%(default)s)"
    parser.add_argument('--width', type=float, default=0.5, metavar='X', help=width)
    parser.add_argument('--blocks', type=int, metavar='N', help="generators' blocks, not for gcfsr (the option file's)")
    parser.add_argument('--channels-last', action='store_true', help='option under test: train.channels_last')


def from_arguments(arguments: argparse.Namespace) -> Setting:
    """The setting that a command line asks for; a UserError for a size that cannot be."""
    device = pick_device(arguments.device)
    batch, gt_size = DEFAULTS[arguments.model][device.type]
    given = {each.name: getattr(arguments, each.name) for each in fields(Setting) if each.name in arguments}
    given |= {'device': device, 'batch': arguments.batch or batch, 'gt_size': arguments.gt_size or gt_size}
    if given['gt_size'] % (8 * SCALE):
        raise UserError(f'--gt-size: {given["gt_size"]} is no multiple of {8 * SCALE}')
    torch.backends.cudnn.benchmark = True  # as BasicSR's train.py sets it
    return Setting(**given)
