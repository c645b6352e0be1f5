"""Option files made fit for this machine: its photographs, the weights that it has, and sizes for a CPU."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from basicsr.data import build_dataset
from basicsr.utils import imwrite, set_random_seed
from skimage import data
from torch.utils.data import default_collate

from benchmarks.gpu.trial import Trial
from benchmarks.step.options import ROOT, Options
from sdakd_plugin.ablation import arms
from sdakd_plugin.checks.option_file import read_yaml
from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.images import image_files
from sdakd_plugin.losses.backbone import cached_file
from sdakd_plugin.losses.lpips_loss import BACKBONES
from sdakd_plugin.networks.frozen import UNTRAINED, weights_are_local
from sdakd_plugin.weights.known import KNOWN

EMBEDDED = ('chelsea', 'coffee', 'rocket')  # the fourth, astronaut, is for validation
DISK = {'type': 'disk'}
ASTRONAUT = {'name': 'astronaut', 'type': 'SampleImageDataset', 'images': ['astronaut'], 'center_crop': 256}


def photographs(folder: Path | None, work: Path) -> Path:
    """The folder of photographs; without one, those that scikit-image includes are written to ``work``."""
    if folder is not None:
        if not (folder.is_dir() and image_files(str(folder))):
            raise UserError(f'--photos: {folder} is not a folder of images')
        return folder
    for name in EMBEDDED:
        imwrite(getattr(data, name)()[..., ::-1], str(work / f'photos/{name}.png'))
    return work / 'photos'


def plain(opt: Options) -> Options:
    """Options without the ordered dictionaries of BasicSR's loader, a copy."""
    copied: Options = json.loads(json.dumps(opt))
    return copied


def on_photos(block: Options, photos: str) -> Options:
    """A block of ``datasets`` that reads the photographs instead; pairs are made from them."""
    if block['type'] == 'SampleImageDataset':
        return block
    kept = {key: value for key, value in block.items() if key not in ('meta_info', 'dataroot_lq', 'dataroot_gt')}
    root = 'dataroot_lq' if block['type'] == 'LQPhotoDataset' else 'dataroot_gt'
    kind = {'PairedImageDataset': 'PhotoDataset'}.get(block['type'], block['type'])
    return {**kept, 'type': kind, root: photos, 'io_backend': DISK}


def teachers(opt: Options) -> list[Options]:
    """The blocks of the teachers."""
    return [*filter(None, [opt.get('teacher')]), *(opt.get('teachers') or {}).values()]


def absent_weights(opt: Options) -> str | None:
    """The first weights of students and teachers that an option file names and this machine lacks, in words."""
    for block in (opt.get('path') or {}, *teachers(opt), *(opt.get('cohort') or [])):
        for key, source in block.items():
            if key.startswith('pretrain_network') and source not in (None, 'teacher') and not weights_are_local(source):
                return f'{key}: {source} is not on this machine'
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


def fitted(path: Path, trial: Trial) -> tuple[Options, list[str]]:
    """An option file's training on this machine, without caches and validation, and what is different, in words."""
    opt = plain(read_yaml(str(path)))
    missing = absent_losses(opt)
    opt = arms.remove(opt, list(missing))
    block = opt['datasets']['train'] = on_photos(opt['datasets']['train'], trial.photos)
    block['num_worker_per_gpu'] = min(block['num_worker_per_gpu'], os.cpu_count() or 1)
    opt['datasets'], opt['num_gpu'] = {'train': block}, int(trial.device == 'cuda')
    for key in ('val', 'ablate'):
        opt.pop(key, None)
    for teacher in teachers(opt):
        teacher.pop('cache', None)
    if trial.small:
        shrink(opt, block)
    return opt, [f'without {name} ({arch} is not on this machine)' for name, arch in missing.items()]


def shrink(opt: Options, block: Options) -> None:
    """Give the training, in place, a size for a CPU: one image, and a small one where the networks allow it."""
    block['batch_size_per_gpu'] = 1
    if not any(key in json.dumps(opt) for key in ('input_size', 'out_size')):
        for sized in (block, opt):
            sized.update({key: 64 for key in ('gt_size',) if key in sized})


def compact(trial: Trial, name: str, batch: int, gt_size: int, stages: tuple[int, int, int], **logger: Any) -> Options:
    """``options/compact_x4.yml`` for the small student and this machine: on its photographs, with stages of so many
    iterations; an untrained teacher where x4plus is absent. ``logger``: changes there."""
    opt, _ = fitted(ROOT / 'options/compact_x4.yml', trial)
    opt['name'], opt['network_g']['num_conv'] = name, 8
    opt['datasets']['val'] = ASTRONAUT
    if trial.small:
        opt['datasets']['train']['degradation'] = 'bicubic'  # the other takes a second for each photograph
    ratio = 1000  # every epoch starts the loader's workers anew
    opt['datasets']['train'].update(gt_size=gt_size, batch_size_per_gpu=batch, dataset_enlarge_ratio=ratio)
    opt['val'] = {'val_freq': 10**9, 'save_img': False, 'metrics': {'psnr': dict(type='calculate_psnr', crop_border=4)}}
    if absent_weights(opt):
        opt['teacher'].update(network_g=KNOWN['RealESRGAN_x4plus'].network, pretrain_network_g=UNTRAINED)
    for stage, iterations in zip(opt['train']['stages'], stages, strict=True):
        stage['iters'] = iterations
    opt['train'].update(total_iter=sum(stages), scheduler=dict(type='MultiStepLR', milestones=[10**9]))
    opt['logger'].update(use_tb_logger=False, **logger)
    return opt


def written(opt: Options, folder: Path) -> str:
    """Write an option file; its path."""
    path = folder / f'{opt["name"]}.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    return str(path.absolute())


def batches(block: Options, batch: int) -> Iterator[dict[str, Any]]:
    """Batches of a training set, always the same."""
    dataset: Any = build_dataset({**block, 'phase': 'train', 'scale': 4})
    set_random_seed(0)
    while True:
        yield default_collate([dataset[random.randrange(len(dataset))] for _ in range(batch)])
