"""What is trained: the sizes and options of the command line, and the option dictionaries that follow from them.

The latter are read off the project's option files. Left out are perceptual losses, whose VGG would be a download and
costs every run the same, and R1, rare as it is. Teachers are untrained, which takes no less time.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdakd_plugin.ablation import arms
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.commands.upscale import pick_device
from sdakd_plugin.distillation.blocks import spread
from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.cost import machine
from sdakd_plugin.networks.frozen import UNTRAINED

Options = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
KEYS = ('name', 'model_type', 'scale', 'network_g', 'network_d', 'teacher', 'cohort', 'path', 'train', 'logger')
FOREVER = 10**6  # iterations of each stage
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
    amp: str | None = None

    @property
    def size(self) -> str:
        """The batch in words."""
        return f'{self.batch} crop{"s" * (self.batch > 1)} of {self.gt_size}x{self.gt_size}'

    @property
    def words(self) -> str:
        """The setting in a line."""
        tested = f'{self.amp or "float32"}{", channels_last: true" if self.channels_last else ""}'
        who = f'a cohort of {self.cohort}' if self.model == 'mutual' else f'students of width {self.width:g}'
        return f'{self.size}, {who}{f", {self.blocks} blocks" if self.blocks else ""}, {tested}'

    @property
    def where(self) -> str:
        """The machine and torch's version."""
        kind = f' ({torch.backends.cpu.get_cpu_capability()})' if self.device.type == 'cpu' else ''
        return f'{machine(self.device)}{kind}, torch {torch.__version__}'

    def images(self) -> dict[str, Tensor]:
        """A batch as a loader gives it: ``lq`` and ``gt``, (n, 3, h, w), range 0..1, noise."""
        seed = torch.Generator().manual_seed(0)
        sides = {'lq': self.gt_size // SCALE, 'gt': self.gt_size}
        return {key: torch.rand(self.batch, 3, n, n, generator=seed).to(self.device) for key, n in sides.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sizes and options on the command line, which ``from_arguments`` reads."""
    parser.add_argument('--batch', type=int, metavar='N', help='images of a step (what fits)')
    parser.add_argument('--gt-size', type=int, metavar='N', help='side of their ground truth (what fits)')
    width = "channels of the student and its discriminator over the full size's (%(default)s)"
    parser.add_argument('--width', type=float, default=0.5, metavar='X', help=width)
    parser.add_argument('--blocks', type=int, metavar='N', help="generators' blocks, not for gcfsr (the option file's)")
    parser.add_argument('--channels-last', action='store_true', help='option under test: train.channels_last')
    amp = 'option under test: train.amp of teacher and student'
    parser.add_argument('--amp', choices=('bfloat16', 'float16'), help=amp)


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


def sdakd(setting: Setting) -> Options:
    """The three stages of ``options/sdakd_x4.yml``."""
    opt = read('sdakd_x4', setting)
    full, student = opt['teacher']['network_g'], opt['network_g']
    student.update({key: whole(full[key], setting.width) for key in ('num_feat', 'num_grow_ch')})
    opt['network_d']['width'] = setting.width
    full['num_block'] = student['num_block'] = blocks = setting.blocks or full['num_block']
    layers = spread([f'body.{number}' for number in range(blocks)], min(4, blocks))  # as in the option file
    opt['train']['feature_opt']['layers'] = layers
    return opt


def gcfsr(setting: Setting) -> Options:
    """The three stages of GCFSR: of ``sdakd_gcfsr_512.yml`` from 512 pixels on, else of ``gcfsr_quickstart_64.yml``."""
    if setting.gt_size not in (64, 128, 256, 512, 1024):
        raise UserError(f'--gt-size: gcfsr knows 64, 128, 256, 512, 1024, not {setting.gt_size}')
    opt = read('sdakd_gcfsr_512' if setting.gt_size >= 512 else 'gcfsr_quickstart_64', setting)
    full, student = opt['teacher']['network_g'], opt['network_g']
    for network in (full, student, opt['network_d']['teacher']):
        network['out_size'] = setting.gt_size
    full['type'] = 'GCFSR'  # the quickstart's; the blind one costs the same
    student['narrow'] = full.get('narrow', 1) * setting.width
    opt['network_d']['width'] = setting.width
    opt['scales'] = [SCALE]
    return opt


def mutual(setting: Setting) -> Options:
    """The cohort of ``options/mutual_srgan_x4.yml``."""
    opt = read('mutual_srgan_x4', setting)
    student, opt['network_d']['input_size'] = opt['network_g'], setting.gt_size
    student['num_feat'] = whole(student['num_feat'], 2 * setting.width)  # 0.5 is the file's own
    student['num_block'] = setting.blocks or student['num_block']
    opt['cohort'] = [{'name': str(number), 'manual_seed': number} for number in range(setting.cohort)]
    return opt


def read(file: str, setting: Setting) -> Options:
    """The networks and the training of an option file, as BasicSR's ``parse_options`` gives them."""
    source = read_yaml(str(ROOT / f'options/{file}.yml'))
    opt = arms.remove({key: source[key] for key in KEYS if key in source}, ['perceptual', 'vgg'])
    train, stages = opt['train'], opt['train'].get('stages', [])
    train.update(channels_last=setting.channels_last, total_iter=FOREVER * max(1, len(stages)))
    if setting.amp:
        train['amp'] = dict.fromkeys(('teacher', 'student'), setting.amp)
    train.pop('r1_reg_weight', None)
    for stage in stages:
        stage['iters'] = FOREVER
    if 'teacher' in opt:
        opt['teacher']['pretrain_network_g'] = UNTRAINED
    opt['datasets'] = {'train': {'gt_size': setting.gt_size, 'batch_size_per_gpu': setting.batch}}
    gpus = int(setting.device.type == 'cuda')
    return {**opt, 'num_gpu': gpus, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1}


def without_teacher(opt: Options) -> Options:
    """The same without what needs the teacher or the peers, and without the options under test."""
    own = arms.without_teacher(opt)
    for key in ('channels_last', 'amp'):
        own['train'].pop(key, None)
    return own


def stock(opt: Options) -> Options:
    """BasicSR's ``SRGANModel`` with the same generator, losses and optimizers, and no teacher."""
    return {**without_teacher(opt), 'model_type': 'SRGANModel'}


def whole(channels: int, width: float) -> int:
    """A width's channels; a UserError where there would be a part of one."""
    found = channels * width
    if found < 1 or abs(found - round(found)) > 1e-3:
        raise UserError(f'--width: {width:g} of {channels} channels is {found:g}, no whole number; try 0.5 or 0.25')
    return round(found)
