"""Small trials of the SRGAN family on the CPU: LPIPS distillation and mutual discriminators, each with and without.

    python -m benchmarks.srgan_evidence --data DIR --alexnet FILE --vgg FILE --report docs/srgan_evidence.md

DIR holds the images ``T91/*.png`` and ``BSDS400/*.jpg`` to train on, and ``Set5`` and ``Set14`` with ``HR`` and
``LR_bicubic_x4``. Every run goes through stock ``basicsr/train.py`` and ``basicsr/test.py``, with option files made
from the project's own. A run that is complete is not repeated, so the script can be interrupted.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import basicsr
import cv2
import yaml
from basicsr.data.transforms import mod_crop

from sdakd_plugin.data.sample_image_dataset import bicubic_reduction

Options = dict[str, Any]
Metrics = dict[str, dict[str, float]]  # of each data set

ROOT = Path(__file__).resolve().parent.parent
MARK = '<!-- below: written by benchmarks/srgan_evidence.py -->'
SCALE, GT_SIZE, BATCH, EMA_DECAY = 4, 96, 4, 0.98
TEACHER, STUDENT = {'num_feat': 32, 'num_block': 16}, {'num_feat': 16, 'num_block': 4}
DISCRIMINATOR = {'num_feat': 16}
LR_SUPERVISED, LR_ADVERSARIAL = 1e-3, 2e-4
SUPERVISED, WARM_UP = 7, 0.25  # iterations, as factors of the adversarial ones
COHORT_GAN_WEIGHT = 1e-2  # not 1e-3, so that the discriminators have a visible share in the generators' loss
LPIPS_WEIGHTS, MUTUAL_WEIGHTS = (1e-6, 0.5), (0.0, 1.0)  # LPIPS: the paper's, and one with a visible share
SRGAN = ['pixel', 'vgg', 'gan']
MEMBERS, DATASETS = 'ab', ('Set5', 'Set14')
METRICS = {'psnr': ('PSNR-Y', 2), 'ssim': ('SSIM-Y', 4), 'lpips': ('LPIPS', 4), 'niqe': ('NIQE', 2)}
PAIRS = {'LPIPS 1e-06 minus none': ('student, LPIPS 1e-06', 'student'),
         'LPIPS 0.5 minus none': ('student, LPIPS 0.5', 'student'),
         'mutual 1 minus mutual 0': ('cohort, mutual 1', 'cohort, mutual 0')}


@dataclass
class Run:
    """One training: its row in the table, its options, and the labels of its generators' files."""

    row: str
    options: Options
    labels: tuple[str, ...] = ('',)


def main() -> None:
    """Make the runs that are missing, then the tables."""
    arguments = parse_arguments()
    arguments.data, arguments.work = arguments.data.absolute(), arguments.work.absolute()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not (arguments.work / 'basicsr').exists():
        (arguments.work / 'basicsr').symlink_to(Path(basicsr.__file__).parent)
    if not (arguments.work / 'train').exists():
        prepare_images(arguments.data, arguments.work / 'train')
    rows: dict[str, list[Metrics]] = {}
    for run in plan(arguments):
        rows.setdefault(run.row, []).extend(complete(run, arguments))
    print(tables(rows))
    if arguments.report:
        head = arguments.report.read_text().split(MARK)[0] if arguments.report.exists() else ''
        arguments.report.write_text(f'{head}{MARK}\n\n{tables(rows)}')


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder of T91, BSDS400, Set5 and Set14')
    parser.add_argument('--work', type=Path, default=ROOT / 'experiments/srgan_evidence', help='where the runs go')
    parser.add_argument('--iters', type=int, default=100, help='adversarial iterations of each run')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--alexnet', type=os.path.abspath, help="torchvision's AlexNet for LPIPS (or downloaded)")
    parser.add_argument('--vgg', type=os.path.abspath, help="torchvision's VGG16 for the VGG loss (or downloaded)")
    parser.add_argument('--report', type=Path, help='Markdown file, whose text above the tables is kept')
    return parser.parse_args()


def prepare_images(data: Path, folder: Path) -> None:
    """Write the training images and their reductions as pairs; those smaller than a crop are left out."""
    unfinished = folder.with_suffix('.tmp')
    for kind in ('HR', 'LR'):
        (unfinished / kind).mkdir(parents=True, exist_ok=True)
    for path in sorted([*(data / 'T91').glob('*.png'), *(data / 'BSDS400').glob('*.jpg')]):
        image = mod_crop(cv2.imread(str(path), cv2.IMREAD_COLOR), SCALE)
        if min(image.shape[:2]) >= GT_SIZE:
            for kind, picture in (('HR', image), ('LR', bicubic_reduction(image, SCALE))):
                cv2.imwrite(str(unfinished / kind / f'{path.stem}.png'), picture)
    unfinished.rename(folder)


def plan(arguments: argparse.Namespace) -> list[Run]:
    """All runs, in an order in which each finds the weights that it needs."""
    build = partial(training_options, arguments, 'srgan_teacher_x4', supervised=['pixel'])
    runs = [Run('teacher', build('teacher', 0, TEACHER, adversarial=SRGAN))]
    for seed in arguments.seeds:
        runs += [Run('supervised start', build(f'start_{member}_seed{seed}', len(MEMBERS) * seed + number, STUDENT))
                 for number, member in enumerate(MEMBERS)]
        runs += [student(arguments, seed, weight) for weight in (None, *LPIPS_WEIGHTS)]
        runs += [cohort(arguments, seed, weight) for weight in MUTUAL_WEIGHTS]
    return runs


def weights_of(name: str, arguments: argparse.Namespace, label: str = '') -> Options:
    """The moving average of a generator that a run leaves."""
    models = arguments.work / 'experiments' / name / 'models'
    return {'pretrain_network_g': str(models / f'net_g{label}_latest.pth'), 'param_key_g': 'params_ema'}


def training_options(arguments: argparse.Namespace, file: str, name: str, seed: int, generator: Options,
                     **stages: list[str]) -> Options:
    """An option file of the project, made small, with the given stages and their losses."""
    opt = yaml.safe_load((ROOT / f'options/{file}.yml').read_text())
    opt['datasets'] = {'train': {
        **opt['datasets']['train'], 'name': 'T91_BSDS400', 'dataroot_gt': str(arguments.work / 'train/HR'),
        'dataroot_lq': str(arguments.work / 'train/LR'), 'gt_size': GT_SIZE, 'batch_size_per_gpu': BATCH,
        'num_worker_per_gpu': 0, 'dataset_enlarge_ratio': 10}}
    opt['network_g'].update(generator)
    opt['network_d'].update(DISCRIMINATOR)
    train = opt['train']
    train['vgg_opt'].update(vgg_type='vgg16', layer='conv2_2', vgg_path=arguments.vgg)
    kinds = {'supervised': {'iters': SUPERVISED * arguments.iters, 'lr_g': LR_SUPERVISED},
             'warm_up': {'iters': int(WARM_UP * arguments.iters), 'train_d': True},
             'adversarial': {'iters': arguments.iters, 'optimizer': 'reset'}}
    train['stages'] = [{'name': kind, 'lr_g': LR_ADVERSARIAL, 'lr_d': LR_ADVERSARIAL, **kinds[kind], 'losses': losses}
                       for kind, losses in stages.items()]
    for key in {key for key in train if key.endswith('_opt')} - {f'{loss}_opt' for loss in chain(*stages.values())}:
        del train[key]
    train.update(total_iter=sum(stage['iters'] for stage in train['stages']), ema_decay=EMA_DECAY)
    opt['logger'].update(print_freq=10, use_tb_logger=False, save_checkpoint_freq=train['total_iter'])
    del opt['val']  # the end is measured by basicsr/test.py
    return {**opt, 'name': name, 'manual_seed': seed, 'num_gpu': 0}


def student(arguments: argparse.Namespace, seed: int, weight: float | None) -> Run:
    """A student; with a weight, it is distilled."""
    row, lpips = ('student', []) if weight is None else (f'student, LPIPS {weight:g}', ['lpips'])
    opt = training_options(arguments, 'srgan_lpips_kd_x4', f'{row} seed{seed}'.replace(',', '').replace(' ', '_'), seed,
                           STUDENT, warm_up=['pixel'], adversarial=[*SRGAN, *lpips])
    opt['path'].update(weights_of(f'start_a_seed{seed}', arguments))
    if lpips:
        opt['teacher']['network_g'].update(TEACHER)
        opt['teacher'].update(weights_of('teacher', arguments))
        opt['train']['lpips_opt'].update(backbone_path=arguments.alexnet, target='teacher', loss_weight=weight)
    else:
        del opt['teacher']
    return Run(row, opt)


def cohort(arguments: argparse.Namespace, seed: int, weight: float) -> Run:
    """Two students side by side; at weight 0 they are two independent runs."""
    opt = training_options(arguments, 'mutual_srgan_x4', f'cohort_mutual_{weight:g}_seed{seed}', seed,
                           STUDENT, warm_up=['pixel'], adversarial=[*SRGAN, 'mutual'])
    opt['path']['param_key_g'] = 'params_ema'
    opt['cohort'] = [{'name': member, 'manual_seed': len(MEMBERS) * seed + number,
                      'pretrain_network_g': weights_of(f'start_{member}_seed{seed}', arguments)['pretrain_network_g']}
                     for number, member in enumerate(MEMBERS)]
    opt['train']['gan_opt']['loss_weight'] = COHORT_GAN_WEIGHT
    opt['train']['mutual_opt']['loss_weight'] = weight
    return Run(f'cohort, mutual {weight:g}', opt, tuple(f'_{member}' for member in MEMBERS))


def testing_options(run: Run, label: str, arguments: argparse.Namespace) -> Options:
    """Measure the moving average of one generator. BasicSR reads Set14's greyscale image as one of three channels."""
    opt = yaml.safe_load((ROOT / 'options/test/mutual_srgan_x4.yml').read_text())
    for number, name in enumerate(DATASETS, 1):
        opt['datasets'][f'test_{number}'].update(name=name, dataroot_gt=str(arguments.data / name / 'HR'),
                                                 dataroot_lq=str(arguments.data / name / 'LR_bicubic_x4'))
    opt['network_g'] = run.options['network_g']
    opt['path'].update(weights_of(run.options['name'], arguments, label))
    lpips = {'type': 'calculate_lpips', 'crop_border': SCALE, 'better': 'lower', 'backbone_path': arguments.alexnet}
    opt['val'].update(save_img=False, metrics={**opt['val']['metrics'], 'lpips': lpips})
    return {**opt, 'name': run.options['name'] + label, 'num_gpu': 0}


def complete(run: Run, arguments: argparse.Namespace) -> list[Metrics]:
    """The metrics of a run's generators: it is trained and measured, unless that was done with the same options."""
    file = arguments.work / 'experiments' / run.options['name'] / 'evidence.json'
    if file.exists():
        result = json.loads(file.read_text())
        if result['options'] == run.options:
            return result['metrics']
    shutil.rmtree(file.parent, ignore_errors=True)
    stock('train.py', run.options, arguments.work)
    tests = [testing_options(run, label, arguments) for label in run.labels]
    found = [metrics_of(stock('test.py', opt, arguments.work)) for opt in tests]
    file.write_text(json.dumps({'options': run.options, 'metrics': found}, indent=2))
    print(f"{run.options['name']}: {found}", flush=True)
    return found


def stock(program: str, opt: Options, work: Path) -> str:
    """Run a program of stock BasicSR in the work folder, and return what it logs."""
    file = work / 'options' / program.removesuffix('.py') / f"{opt['name']}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(opt, sort_keys=False))
    done = subprocess.run([sys.executable, f'basicsr/{program}', '-opt', str(file)], cwd=work, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    if done.returncode:
        sys.exit(f"{opt['name']}: basicsr/{program} failed\n{done.stdout[-5000:]}")
    return done.stdout


def metrics_of(log: str) -> Metrics:
    """Read the metrics of each data set off the log of ``basicsr/test.py``."""
    blocks = re.findall(r'Validation (\w+)\n((?:\s+# \w+: .*\n)+)', log)
    return {name: {metric: float(value) for metric, value in re.findall(r'# (\w+): (\S+)', block)}
            for name, block in blocks}


def tables(rows: dict[str, list[Metrics]]) -> str:
    """For each data set the results, and the differences between generators of the same seed and start."""
    parts = []
    for dataset in DATASETS:
        found = {row: {metric: [one[dataset][metric] for one in each] for metric in METRICS}
                 for row, each in rows.items()}
        gaps = {pair: {metric: [one - other for one, other in zip(found[new][metric], found[old][metric], strict=True)]
                       for metric in METRICS} for pair, (new, old) in PAIRS.items()}
        parts += [f'## {dataset}', table('', found), table('difference', gaps, '+')]
    return '\n\n'.join(parts) + '\n'


def table(title: str, rows: dict[str, dict[str, list[float]]], sign: str = '') -> str:
    """Each cell a mean, and in brackets the lowest and the highest value where there are several."""
    lines = [f"| {title} | {' | '.join(head for head, _ in METRICS.values())} |", '|---' * (len(METRICS) + 1) + '|']
    for name, found in rows.items():
        cells = []
        for metric, (_, digits) in METRICS.items():
            mean, low, high = (f'{pick(found[metric]):{sign}.{digits}f}' for pick in (fmean, min, max))
            cells.append(mean if len(found[metric]) == 1 else f'{mean} ({low} to {high})')
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
