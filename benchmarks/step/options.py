"""The option dictionaries of everything that is measured, read off the project's option files.

Perceptual losses are left out, as their VGG would have to be downloaded and costs every run the same; R1 too, which
runs once in 16 iterations.
"""
from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.step.setting import SCALE, Setting
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.frozen import UNTRAINED
from sdakd_plugin.weights import cache_dir
from sdakd_plugin.weights.fetch import WHEEL

Options = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent.parent
TEACHER = 'RealESRGAN_x4plus'
FOREVER = 10**6  # iterations of each stage
GCFSR_SIZES = (64, 128, 256, 512, 1024)
STAGES = ('supervised', 'alignment', 'adversarial')


def sdakd(setting: Setting) -> Options:
    """The three stages of ``options/sdakd_x4.yml``."""
    opt = base('sdakd_x4', setting, ['pixel', 'feature', 'gan'])
    full, student = opt['teacher']['network_g'], opt['network_g']
    for key in ('num_feat', 'num_grow_ch'):
        student[key] = whole(full[key], setting.width)
    opt['network_d']['width'] = setting.width
    if setting.blocks is not None:
        full['num_block'] = student['num_block'] = setting.blocks
        opt['train']['feature_opt']['layers'] = spread(setting.blocks)
    local = find_spec(WHEEL) is not None or any(cache_dir().glob(f'{TEACHER}.*'))
    if not local or setting.blocks is not None:
        opt['teacher']['pretrain_network_g'] = UNTRAINED
    opt['train'].update(setting.tested)
    return opt


def gcfsr(setting: Setting) -> Options:
    """The three stages of GCFSR: of ``sdakd_gcfsr_512.yml`` from 512 pixels on, else of ``gcfsr_quickstart_64.yml``."""
    if setting.gt_size not in GCFSR_SIZES:
        raise UserError(f"--gt-size: gcfsr knows {', '.join(map(str, GCFSR_SIZES))}, not {setting.gt_size}")
    opt = base('sdakd_gcfsr_512' if setting.gt_size >= 512 else 'gcfsr_quickstart_64', setting,
               ['pixel', 'feature', 'gan'])
    full, student, discriminator = opt['teacher']['network_g'], opt['network_g'], opt['network_d']
    for network in (full, student, discriminator['teacher']):
        network['out_size'] = setting.gt_size
    full['type'] = 'GCFSR'  # the quickstart's; the blind one costs the same
    student['narrow'] = full.get('narrow', 1) * setting.width
    discriminator['width'] = setting.width
    opt['teacher']['pretrain_network_g'] = UNTRAINED
    opt['scales'] = [SCALE]
    del opt['train']['r1_reg_weight']
    opt['train'].update(setting.tested)
    return opt


def mutual(setting: Setting) -> Options:
    """The cohort of ``options/mutual_srgan_x4.yml``."""
    opt = base('mutual_srgan_x4', setting, ['pixel', 'gan', 'mutual'])
    opt['network_d']['input_size'] = setting.gt_size
    opt['network_g']['num_feat'] = whole(opt['network_g']['num_feat'], 2 * setting.width)  # 0.5 is the file's own
    if setting.blocks is not None:
        opt['network_g']['num_block'] = setting.blocks
    opt['cohort'] = [{'name': str(number), 'manual_seed': number} for number in range(setting.cohort)]
    opt['train'].update(setting.tested, total_iter=FOREVER)
    return opt


def base(file: str, setting: Setting, losses: list[str]) -> Options:
    """An option file's networks and training with these losses alone, as BasicSR's ``parse_options`` gives it."""
    source = yaml.safe_load((ROOT / f'options/{file}.yml').read_text())
    keys = ('name', 'model_type', 'scale', 'network_g', 'network_d', 'teacher', 'cohort', 'path', 'train', 'logger')
    opt = {key: source[key] for key in keys if key in source}
    train = opt['train']
    for key in [key for key in train if key.endswith('_opt') and key.removesuffix('_opt') not in losses]:
        del train[key]
    if 'stages' in train:
        train['total_iter'] = FOREVER * len(train['stages'])
        for stage in train['stages']:
            stage.update(iters=FOREVER, losses=[loss for loss in stage['losses'] if loss in losses])
    opt['datasets'] = {'train': {'name': 'noise', 'type': 'PairedImageDataset', 'gt_size': setting.gt_size,
                                 'batch_size_per_gpu': setting.batch}}
    return {**opt, 'num_gpu': int(setting.device.type == 'cuda'), 'is_train': True, 'dist': False, 'rank': 0,
            'world_size': 1}


def stock(opt: Options, full_size: bool) -> Options:
    """BasicSR's ``SRGANModel`` with the same generator, losses and optimizers, and no teacher.

    Args:
        opt: of ``sdakd`` or ``mutual``.
        full_size: with the discriminator that the student's is a narrower one of; else with the student's.
    """
    own = {**without_teacher(opt, full_size), 'model_type': 'SRGANModel'}
    for key in ('cohort', 'scales'):
        own.pop(key, None)
    for key in ('mutual_opt', 'mutual_images', 'stages', 'amp', 'channels_last'):
        own['train'].pop(key, None)
    return own


def with_full_size(opt: Options) -> Options:
    """The same with the discriminator that the student's is a narrower one of."""
    own = deepcopy(opt)
    if 'teacher' in own['network_d']:
        own['network_d'] = own['network_d']['teacher']
    return own


def without_teacher(opt: Options, full_size: bool) -> Options:
    """The adversarial stage from the first iteration on, without what needs the teacher."""
    own = with_full_size(opt) if full_size else deepcopy(opt)
    own.pop('teacher', None)
    own['train'].pop('feature_opt', None)
    own['train'].update(total_iter=FOREVER, stages=[{'name': STAGES[-1], 'iters': FOREVER, 'losses': ['pixel', 'gan']}])
    return own


def whole(channels: int, width: float) -> int:
    """A width's channels.

    Raises:
        UserError: there would be a part of one.
    """
    found = round(channels * width)
    if found < 1 or abs(found - channels * width) > 1e-3:
        raise UserError(f'--width: {width:g} of {channels} channels is {channels * width:g}, no whole number; '
                        'try 0.5, 0.25 or 0.125')
    return found


def spread(blocks: int) -> list[str]:
    """Four blocks evenly spread to the last, as in the option file."""
    return list(dict.fromkeys(f'body.{min(blocks * quarter // 4, blocks - 1)}' for quarter in (1, 2, 3, 4)))
