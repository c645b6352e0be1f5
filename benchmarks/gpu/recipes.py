"""Option files made fit for this machine: its photographs, the weights that it has, and sizes for a CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml
from basicsr.utils import imwrite
from skimage import data

from benchmarks.gpu.trial import Trial
from benchmarks.step.options import ROOT, Options
from sdakd_plugin.ablation import arms
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.data.photographs import Photographs
from sdakd_plugin.losses.backbone import cached_file
from sdakd_plugin.losses.lpips_loss import BACKBONES
from sdakd_plugin.networks.frozen import UNTRAINED, weights_are_local
from sdakd_plugin.weights.known import KNOWN

EMBEDDED = ('chelsea', 'coffee', 'rocket')  # the fourth, astronaut, is for validation
ASTRONAUT = {'name': 'astronaut', 'type': 'SampleImageDataset', 'images': ['astronaut'], 'center_crop': 256}
PSNR = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True}}
X4PLUS = KNOWN['RealESRGAN_x4plus'].network


def photographs(folder: Path | None, work: Path) -> Path:
    """The folder of photographs; without one, those that scikit-image includes are written to ``work``."""
    if folder is not None:
        Photographs(str(folder), {}, '--photos')  # raises an error if there are none
        return folder
    for name in EMBEDDED:
        imwrite(getattr(data, name)()[..., ::-1], str(work / f'photos/{name}.png'))
    return work / 'photos'


def on_photos(block: Options, photos: str) -> Options:
    """A training set's block that reads the photographs instead; pairs are made from them."""
    if block['type'] == 'SampleImageDataset':
        return block
    kept = {key: value for key, value in block.items() if key not in ('meta_info', 'dataroot_lq', 'io_backend')}
    root = 'dataroot_lq' if block['type'] == 'LQPhotoDataset' else 'dataroot_gt'
    kind = 'PhotoDataset' if block['type'] == 'PairedImageDataset' else block['type']
    return {**kept, 'type': kind, root: photos, 'num_worker_per_gpu': min(block['num_worker_per_gpu'], os.cpu_count())}


def teachers(opt: Options) -> list[Options]:
    """The blocks of the teachers."""
    return [*filter(None, [opt.get('teacher')]), *(opt.get('teachers') or {}).values()]


def absent_weights(opt: Options) -> str | None:
    """The first weights of students and teachers that an option file names and this machine lacks, in words."""
    for block in (opt['path'], *teachers(opt), *(opt.get('cohort') or [])):
        for key, source in block.items():
            if key.startswith('pretrain_network') and source not in (None, 'teacher') and not weights_are_local(source):
                return f'{source} is not on this machine'
    return None


def absent_losses(opt: Options) -> dict[str, str]:
    """The losses whose frozen network is not on this machine, with its torchvision name."""
    found = {}
    for name, block in arms.losses(opt).items():
        arch = BACKBONES.get(block.get('net')) if block['type'] == 'LPIPSLoss' else block.get('vgg_type')
        path = block.get('backbone_path') or block.get('vgg_path')
        if arch and not (Path(path) if path else cached_file(arch)).is_file():
            found[name] = arch
    return found


def fitted(path: Path, trial: Trial) -> tuple[Options, str]:
    """An option file's training on this machine, without caches and validation, and what is different, in words."""
    opt = json.loads(json.dumps(read_yaml(str(path))))  # without the ordered dictionaries of BasicSR's loader
    missing = absent_losses(opt)
    opt = arms.remove(opt, list(missing))
    block = on_photos(opt['datasets']['train'], trial.photos)
    opt |= {'datasets': {'train': block}, 'num_gpu': int(trial.device == 'cuda')}
    for key in ('val', 'ablate'):
        opt.pop(key, None)
    for teacher in teachers(opt):
        teacher.pop('cache', None)
    if trial.small:
        block['batch_size_per_gpu'] = 1
        if not any(key in json.dumps(opt) for key in ('input_size', 'out_size')):  # of networks for one size
            for sized in (block, opt):
                sized.update({key: 64 for key in ('gt_size',) if key in sized})
    return opt, '; '.join(f'without {name}: {arch} is not on this machine' for name, arch in missing.items())


def compact(
    trial: Trial, name: str, batch: int, gt_size: int, stages: tuple[int, ...], every: int, validate: bool = False
) -> tuple[str, Path]:
    """Write ``options/compact_x4.yml`` for the small student and this machine; the file and the run's folder.

    Args:
        trial: says which machine.
        name: of the run.
        batch, gt_size: of the training.
        stages: iterations of each stage.
        every: iterations between lines of the log, and between checkpoints and validations.
        validate: whether there are validations.
    """
    opt, _ = fitted(ROOT / 'options/compact_x4.yml', trial)
    opt |= {'name': name, 'queue_size': 4 * batch}
    opt['network_g']['num_conv'], block = 8, opt['datasets']['train']
    if validate:
        opt['val'], opt['datasets']['val'] = {'val_freq': every, 'save_img': False, 'metrics': PSNR}, ASTRONAUT
    block.update(gt_size=gt_size, batch_size_per_gpu=batch, dataset_enlarge_ratio=1000)  # an epoch begins slowly
    if trial.small:
        block['degradation'] = 'bicubic'  # the other takes a second for each photograph
    if absent_weights(opt):
        opt['teacher'].update(network_g=X4PLUS, pretrain_network_g=UNTRAINED)
    for stage, iterations in zip(opt['train']['stages'], stages, strict=True):
        stage['iters'] = iterations
    opt['train']['total_iter'] = sum(stages)
    opt['logger'].update(use_tb_logger=False, keep_last=None, print_freq=every, save_checkpoint_freq=every)
    file = Path(trial.work, f'{name}.yml')
    file.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    return str(file), Path(trial.work, 'experiments', name)
