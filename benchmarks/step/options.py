"""The option dictionaries of everything that is measured, read off the project's option files.

Left out are perceptual losses, whose VGG would be a download and costs every run the same, and R1, rare as it is.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from benchmarks.step.setting import SCALE, Setting
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.frozen import UNTRAINED
from sdakd_plugin.weights import cache_dir
from sdakd_plugin.weights.fetch import package_file
from sdakd_plugin.weights.known import KNOWN

Options = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
FOREVER = 10**6  # iterations of each stage
GCFSR_SIZES = (64, 128, 256, 512, 1024)
STAGES = ('supervised', 'alignment', 'adversarial')


def sdakd(setting: Setting) -> Options:
    """The three stages of ``options/sdakd_x4.yml``."""
    opt = base('sdakd_x4', setting, ['pixel', 'feature', 'gan'])
    full, student = opt['teacher']['network_g'], opt['network_g']
    student.update({key: whole(full[key], setting.width) for key in ('num_feat', 'num_grow_ch')})
    opt['network_d']['width'] = setting.width
    blocks = setting.blocks
    if blocks is not None:  # the layers are four, evenly spread to the last, as in the option file
        full['num_block'] = student['num_block'] = blocks
        layers = [f'body.{min(blocks * quarter // 4, blocks - 1)}' for quarter in (1, 2, 3, 4)]
        opt['train']['feature_opt']['layers'] = list(dict.fromkeys(layers))
    packaged = package_file(KNOWN['RealESRGAN_x4plus'].ncnn, '.bin')
    if blocks is not None or not (packaged or any(cache_dir().glob('RealESRGAN_x4plus.*'))):
        opt['teacher']['pretrain_network_g'] = UNTRAINED
    return opt


def gcfsr(setting: Setting) -> Options:
    """The three stages of GCFSR: of ``sdakd_gcfsr_512.yml`` from 512 pixels on, else of ``gcfsr_quickstart_64.yml``."""
    if setting.gt_size not in GCFSR_SIZES:
        raise UserError(f'--gt-size: gcfsr knows {", ".join(map(str, GCFSR_SIZES))}, not {setting.gt_size}')
    file = 'sdakd_gcfsr_512' if setting.gt_size >= 512 else 'gcfsr_quickstart_64'
    opt = base(file, setting, ['pixel', 'feature', 'gan'])
    full, student = opt['teacher']['network_g'], opt['network_g']
    for network in (full, student, opt['network_d']['teacher']):
        network['out_size'] = setting.gt_size
    full['type'] = 'GCFSR'  # the quickstart's; the blind one costs the same
    student['narrow'] = full.get('narrow', 1) * setting.width
    opt['network_d']['width'] = setting.width
    opt['teacher']['pretrain_network_g'] = UNTRAINED
    opt['scales'] = [SCALE]
    del opt['train']['r1_reg_weight']
    return opt


def mutual(setting: Setting) -> Options:
    """The cohort of ``options/mutual_srgan_x4.yml``."""
    opt = base('mutual_srgan_x4', setting, ['pixel', 'gan', 'mutual'])
    opt['network_d']['input_size'] = setting.gt_size
    opt['network_g']['num_feat'] = whole(opt['network_g']['num_feat'], 2 * setting.width)  # 0.5 is the file's own
    if setting.blocks is not None:
        opt['network_g']['num_block'] = setting.blocks
    opt['cohort'] = [{'name': str(number), 'manual_seed': number} for number in range(setting.cohort)]
    return opt


def base(file: str, setting: Setting, losses: list[str]) -> Options:
    """An option file's networks and training with these losses alone, as BasicSR's ``parse_options`` gives it."""
    source = yaml.safe_load((ROOT / f'options/{file}.yml').read_text())
    keys = ('name', 'model_type', 'scale', 'network_g', 'network_d', 'teacher', 'cohort', 'path', 'logger')
    opt = {key: source[key] for key in keys if key in source}
    train = opt['train'] = {
        key: value
        for key, value in source['train'].items()
        if not key.endswith('_opt') or key.removesuffix('_opt') in losses
    }
    train.update(setting.tested, total_iter=FOREVER * len(train.get('stages', [None])))
    for stage in train.get('stages', ()):
        stage.update(iters=FOREVER, losses=[loss for loss in stage['losses'] if loss in losses])
    opt['datasets'] = {
        'train': {
            'name': 'noise',
            'type': 'PairedImageDataset',
            'gt_size': setting.gt_size,
            'batch_size_per_gpu': setting.batch,
        }
    }
    return {
        **opt,
        'num_gpu': int(setting.device.type == 'cuda'),
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
    }


def stock(opt: Options, full_size: bool) -> Options:
    """BasicSR's ``SRGANModel`` with the same generator, losses and optimizers, and no teacher."""
    own = without_teacher(opt, full_size)
    own.pop('cohort', None)
    train = {key: value for key, value in own['train'].items() if key not in ('mutual_opt', 'mutual_images', 'stages')}
    return {**own, 'train': train, 'model_type': 'SRGANModel'}


def with_full_size(opt: Options) -> Options:
    """The same with the discriminator that the student's is a narrower one of."""
    return {**opt, 'network_d': opt['network_d'].get('teacher', opt['network_d'])}


def without_teacher(opt: Options, full_size: bool) -> Options:
    """The adversarial stage from the first iteration on, without what needs the teacher and the options under test."""
    own = deepcopy(with_full_size(opt) if full_size else opt)
    own.pop('teacher', None)
    for key in ('feature_opt', 'amp', 'channels_last'):
        own['train'].pop(key, None)
    own['train'].update(total_iter=FOREVER, stages=[{'name': STAGES[-1], 'iters': FOREVER, 'losses': ['pixel', 'gan']}])
    return own


def whole(channels: int, width: float) -> int:
    """A width's channels; a UserError where there would be a part of one."""
    found = round(channels * width)
    if found < 1 or abs(found - channels * width) > 1e-3:
        raise UserError(
            f'--width: {width:g} of {channels} channels is {channels * width:g}, no whole number; '
            'try 0.5, 0.25 or 0.125'
        )
    return found
