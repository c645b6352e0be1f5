"""The option dictionaries of everything that is measured, read off the project's option files.

Left out are perceptual losses, whose VGG would be a download and costs every run the same, and R1, rare as it is.
Teachers are untrained, which takes no less time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.step.setting import SCALE, Setting
from sdakd_plugin.ablation import arms
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.distillation.blocks import spread
from sdakd_plugin.errors import UserError
from sdakd_plugin.networks.frozen import UNTRAINED

Options = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
KEYS = ('name', 'model_type', 'scale', 'network_g', 'network_d', 'teacher', 'cohort', 'path', 'train', 'logger')
FOREVER = 10**6  # iterations of each stage
GCFSR_SIZES = (64, 128, 256, 512, 1024)


def sdakd(setting: Setting) -> Options:
    """The three stages of ``options/sdakd_x4.yml``."""
    opt = read('sdakd_x4', setting)
    full, student, blocks = opt['teacher']['network_g'], opt['network_g'], setting.blocks
    student.update({key: whole(full[key], setting.width) for key in ('num_feat', 'num_grow_ch')})
    opt['network_d']['width'] = setting.width
    if blocks is not None:  # the layers are four, evenly spread to the last, as in the option file
        full['num_block'] = student['num_block'] = blocks
        layers = spread([f'body.{number}' for number in range(blocks)], min(4, blocks))
        opt['train']['feature_opt']['layers'] = layers
    return opt


def gcfsr(setting: Setting) -> Options:
    """The three stages of GCFSR: of ``sdakd_gcfsr_512.yml`` from 512 pixels on, else of ``gcfsr_quickstart_64.yml``."""
    if setting.gt_size not in GCFSR_SIZES:
        raise UserError(f'--gt-size: gcfsr knows {", ".join(map(str, GCFSR_SIZES))}, not {setting.gt_size}')
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
    opt['network_d']['input_size'] = setting.gt_size
    opt['network_g']['num_feat'] = whole(opt['network_g']['num_feat'], 2 * setting.width)  # 0.5 is the file's own
    if setting.blocks is not None:
        opt['network_g']['num_block'] = setting.blocks
    opt['cohort'] = [{'name': str(number), 'manual_seed': number} for number in range(setting.cohort)]
    return opt


def read(file: str, setting: Setting) -> Options:
    """The networks and the training of an option file, as BasicSR's ``parse_options`` gives them."""
    source = read_yaml(str(ROOT / f'options/{file}.yml'))
    opt = arms.remove({key: source[key] for key in KEYS if key in source}, ['perceptual', 'vgg'])
    train, stages = opt['train'], opt['train'].get('stages', [])
    train.update(channels_last=setting.channels_last, total_iter=FOREVER * max(1, len(stages)))
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
    del own['train']['channels_last']
    return own


def stock(opt: Options) -> Options:
    """BasicSR's ``SRGANModel`` with the same generator, losses and optimizers, and no teacher."""
    return {**without_teacher(opt), 'model_type': 'SRGANModel'}


def whole(channels: int, width: float) -> int:
    """A width's channels; a UserError where there would be a part of one."""
    found = channels * width
    if found < 1 or abs(found - round(found)) > 1e-3:
        reason = f'{width:g} of {channels} channels is {found:g}, no whole number; try 0.5, 0.25 or 0.125'
        raise UserError(f'--width: {reason}')
    return round(found)
