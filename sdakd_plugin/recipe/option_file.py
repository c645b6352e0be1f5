"""The text of an option file: what was chosen, and why, in comments; the rest is left at its defaults."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sdakd_plugin.recipe.choices import Choices, student_network

LPIPS_WEIGHT = {'real': 0.1, 'clean': 0.3}  # as for the students of the package; more causes dots on real photographs
VALIDATIONS = 5
ABOUT = {
    'nano': 'for a phone or a browser',
    'small': 'the usual choice',
    'medium': 'for badly damaged images',
    'half': 'quality before speed',
}

START = {'': 'random weights: no student of this size is at hand', 'teacher': "channels of the teacher's weights"}


def lists(out: Path) -> tuple[Path, Path]:
    """The files beside an option file that list the photographs for training and for validation."""
    return out.with_name(f'{out.stem}_train.txt'), out.with_name(f'{out.stem}_val.txt')


def option_file(choices: Choices, root: str, out: Path, counts: tuple[int, int], remarks: list[str]) -> str:
    """The option file.

    Args:
        choices: what was chosen.
        root: the folder of photographs.
        out: where the file will be; the lists of photographs are beside it.
        counts: how many photographs train and validate.
        remarks: what was measured, a line each, for the first comment.
    """
    train, val = (quoted(str(path.absolute())) for path in lists(out))
    folder = quoted(os.path.abspath(root))
    network = student_network(choices.student, choices.scale)
    start = START.get(choices.start or '', 'a trained student of the package, to go on from')
    enlarge = max(1, -(-1000 // counts[0]))
    cache = f'  cache: {quoted(str(out.with_name(out.stem + "_teacher").absolute()))}'
    blocks = [
        *(f'# {line}' for line in remarks),
        f'name: {quoted(out.stem)}',
        'model_type: SDAKDModel',
        f'scale: {choices.scale}  # that of the teacher',
        f'num_gpu: {"auto" if choices.machine.gpu else 0}  # {choices.machine}',
        'manual_seed: 0',
        '',
        'datasets:',
        '  train:',
        '    name: train',
        '    type: PhotoDataset  # makes the LQ images itself',
        f'    dataroot_gt: {folder}',
        f'    meta_info: {train}  # {counts[0]:,} photographs',
        *degradation(choices, training=True),
        f'    gt_size: {choices.crop}',
        f'    batch_size_per_gpu: {choices.batch}',
        f'    num_worker_per_gpu: {choices.workers}',
        f'    dataset_enlarge_ratio: {enlarge}',
        '  val:',
        '    name: held_out',
        '    type: PhotoDataset',
        f'    dataroot_gt: {folder}',
        f'    meta_info: {val}  # {counts[1]:,} that training does not see',
        *degradation(choices, training=False),
        '',
        f'network_g: {flow(network)}  # {choices.student}: {ABOUT[choices.student]}',
        '',
        'teacher:',
        f'  pretrain_network_g: {quoted(choices.teacher)}',
        *([f'{cache}  # its images, stored before training'] if choices.cached else []),
        '',
        'path:',
        f'  pretrain_network_g: {choices.start or "~"}  # {start}',
        '',
        *training(choices),
    ]
    return '\n'.join(blocks) + '\n'


def degradation(choices: Choices, training: bool) -> list[str]:
    """How a data set makes its LQ images."""
    if choices.photos == 'clean':
        return ['    degradation: bicubic  # clean images, that were only reduced'] if training else []
    fixed = training and choices.cached
    seed = ['    degradation_seed: 1  # always the same for a photograph, so that the teacher runs once']
    kind = "    degradation: real  # blur, noise and JPEG, as Real-ESRGAN's" if training else '    degradation: real'
    return [kind, *(seed if fixed else [])]


def training(choices: Choices) -> list[str]:
    """The blocks ``train``, ``val`` and ``logger``."""
    total, slow = choices.iterations, choices.start is not None or choices.student == 'half'
    half = '{teacher: bfloat16, student: bfloat16}  # half of the memory on this GPU'
    path = f', backbone_path: {quoted(choices.lpips)}' if choices.lpips else ''
    weight = LPIPS_WEIGHT[choices.photos]
    perceptual = f'{{type: LPIPSLoss, net: alex, target: teacher, max_shift: 3, loss_weight: {weight}{path}}}'
    metrics = ['    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: true}']
    if choices.lpips == '':
        metrics.append('    lpips: {type: calculate_lpips, crop_border: 4, better: lower}')
    return [
        'train:',
        *([f'  amp: {half}'] if choices.machine.bfloat16 else []),
        '  channels_last: true',
        '  ema_decay: 0.999',
        f'  optim_g: {{type: Adam, lr: {"2.0e-4" if slow else "1.0e-3"}, betas: [0.9, 0.99]}}',
        f'  scheduler: {{type: CosineAnnealingRestartLR, periods: [{total}], restart_weights: [1], eta_min: 1.0e-5}}',
        f'  total_iter: {total}',
        '  stages:  # no discriminator: it adds a grid to what small students make (docs/students.md)',
        *(
            f'    - {{name: {name}, iters: {iters}, losses: [{", ".join(losses)}]}}'
            for name, iters, losses in choices.stages
        ),
        '  pixel_opt: {type: L1Loss, loss_weight: 1.0}',
        '  teacher_pixel_opt: {type: L1Loss, loss_weight: 1.0}',
        *([f'  lpips_opt: {perceptual}'] if choices.lpips is not None else []),
        '',
        'val:',
        f'  val_freq: {max(1, total // VALIDATIONS)}',
        '  save_img: false',
        '  metrics:',
        *metrics,
        '',
        'logger:',
        f'  print_freq: {max(1, min(100, total // 10))}',
        f'  save_checkpoint_freq: {max(1, total // VALIDATIONS)}',
        '  use_tb_logger: false',
    ]


def quoted(text: str) -> str:
    """A text as YAML writes it: in quotes unless it has only letters, digits and a few other characters."""
    plain = text.replace('_', '').replace('/', '').replace('.', '').replace('-', '')
    return text if plain.isalnum() and plain.isascii() and not plain.isdigit() else json.dumps(text, ensure_ascii=False)


def flow(block: dict[str, Any]) -> str:
    """A block on one line."""
    return '{' + ', '.join(f'{key}: {value}' for key, value in block.items()) + '}'
