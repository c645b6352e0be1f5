"""What is measured, at which size, with which options under test."""
from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.errors import UserError

PRECISIONS = ('bfloat16', 'float16')
DEFAULTS = {  # batch and gt_size: small enough for two CPU cores; the option files' own sizes for a GPU
    'sdakd': {'cpu': (2, 128), 'cuda': (12, 256)},
    'mutual': {'cpu': (2, 96), 'cuda': (16, 96)},
    'gcfsr': {'cpu': (2, 64), 'cuda': (3, 512)},
}
SCALE = 4


@dataclass(frozen=True)
class Setting:
    """One measurement's sizes and options.

    Attributes:
        model: a key of ``DEFAULTS``.
        device: where it runs.
        batch, gt_size: images of a step, and the side of their ground truth; LQ is a quarter of it.
        width: the student's channels, and its discriminator's, over the full size's.
        blocks: of teacher and student (RRDBNet's, SRGANGenerator's); None for the option file's.
        cohort: members of ``mutual``.
        amp_teacher, amp_student: a precision, None for float32.
        channels_last: as in ``train``.
    """

    model: str
    device: torch.device
    batch: int
    gt_size: int
    width: float = 0.5
    blocks: int | None = None
    cohort: int = 2
    amp_teacher: str | None = None
    amp_student: str | None = None
    channels_last: bool = False

    @property
    def tested(self) -> dict[str, Any]:
        """The options under test as keys of ``train``; none where all are off."""
        amp = {'teacher': self.amp_teacher, 'student': self.amp_student}
        amp = {key: value for key, value in amp.items() if value}
        return {**({'amp': amp} if amp else {}), **({'channels_last': True} if self.channels_last else {})}

    @property
    def size(self) -> str:
        """The batch in words."""
        return f'{self.batch} crop{"s" * (self.batch > 1)} of {self.gt_size}x{self.gt_size}'

    @property
    def words(self) -> str:
        """The setting in a line."""
        tested = [f'amp.{net}: {precision}' for net, precision in self.tested.get('amp', {}).items()]
        tested += [f'{key}: true' for key in self.tested if key != 'amp']
        who = f'a cohort of {self.cohort}' if self.model == 'mutual' else f'students of width {self.width:g}'
        return f"{self.size}, {who}{f', {self.blocks} blocks' if self.blocks else ''}, {', '.join(tested) or 'float32'}"

    def images(self, device: torch.device | None = None) -> dict[str, Tensor]:
        """A batch as a loader gives it: ``lq`` and ``gt``, (n, 3, h, w), range 0..1, noise."""
        generator = torch.Generator().manual_seed(0)
        sides = {'lq': self.gt_size // SCALE, 'gt': self.gt_size}
        return {key: torch.rand(self.batch, 3, side, side, generator=generator).to(device or self.device)
                for key, side in sides.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The part of the command line that ``from_arguments`` reads."""
    parser.add_argument('--model', choices=DEFAULTS, default='sdakd', help='what is trained (%(default)s)')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='(%(default)s)')
    parser.add_argument('--threads', type=int, metavar='N', help="torch's threads on a CPU (its own choice)")
    parser.add_argument('--batch', type=int, metavar='N', help='images of a step (what fits)')
    parser.add_argument('--gt-size', type=int, metavar='N', help='side of their ground truth (what fits)')
    parser.add_argument('--width', type=float, default=0.5, metavar='X', help="the student's width (%(default)s)")
    parser.add_argument('--blocks', type=int, metavar='N', help="generators' blocks, not for gcfsr (the option file's)")
    parser.add_argument('--cohort', type=int, default=2, metavar='K', help='members, for mutual (%(default)s)')
    parser.add_argument('--amp-teacher', choices=PRECISIONS, help='option under test: train.amp.teacher')
    parser.add_argument('--amp-student', choices=PRECISIONS, help='option under test: train.amp.student')
    parser.add_argument('--channels-last', action='store_true', help='option under test: train.channels_last')


def from_arguments(arguments: argparse.Namespace) -> Setting:
    """The setting that a command line asks for; sets torch's number of threads.

    Raises:
        UserError: a number that is too small.
    """
    device = pick_device(arguments.device)
    batch, gt_size = DEFAULTS[arguments.model][device.type]
    for option, least in (('batch', 1), ('gt_size', 8 * SCALE), ('blocks', 1), ('cohort', 2), ('threads', 1)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise UserError(f"--{option.replace('_', '-')}: {value} is less than {least}")
    if arguments.gt_size is not None and arguments.gt_size % (8 * SCALE):
        raise UserError(f'--gt-size: {arguments.gt_size} is no multiple of {8 * SCALE}')
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True  # as BasicSR's train.py sets it
    return Setting(arguments.model, device, arguments.batch or batch, arguments.gt_size or gt_size, arguments.width,
                   arguments.blocks, arguments.cohort, arguments.amp_teacher, arguments.amp_student,
                   arguments.channels_last)
