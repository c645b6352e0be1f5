"""Does a student gain from its teacher's weights? Students of half its width start from the channels of the largest L1
norm (l1), from every second one (even), and from random weights, and then train alike for a short while.

    python -m benchmarks.slimming_evidence --data DIR --report docs/slimming.md

DIR holds ``T91/*.png`` and ``BSDS400/*.jpg`` to train on, and ``Set5`` with ``HR`` and ``LR_bicubic_x4``; without it,
scikit-image's photographs take their place. The teachers are known names or files, see ``--teachers``.
"""
from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch
from basicsr.data.transforms import mod_crop, paired_random_crop
from basicsr.metrics import calculate_psnr
from basicsr.utils import img2tensor, tensor2img
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from sdakd_plugin.data.sample_image_dataset import SampleImageDataset, bicubic_reduction
from sdakd_plugin.inference.model import Model, load_model
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.slimming.slim import slim

Pair = tuple[np.ndarray, np.ndarray]  # GT and LQ, uint8, BGR

ROOT = Path(__file__).resolve().parent.parent
MARK = '<!-- below: written by benchmarks/slimming_evidence.py -->'
SCALE, GT_SIZE, BATCH = 4, 64, 2
TEACHERS = ('realesr-animevideov3', 'RealESRGAN_x4plus_anime_6B')
WIDTHS = ('num_feat', 'num_grow_ch')
STARTS = ('l1', 'even', 'random')


def main() -> None:
    """Train every student, then write the table."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    train, val = images(arguments.data)
    rows = []
    for source in arguments.teachers:
        teacher = load_model(source, '--teachers')
        rows.append([teacher.name, f'itself, {size_of(teacher.net)}', f'{psnr(teacher.net, val):.2f}', '', ''])
        for start in STARTS:
            found = [trial(teacher, start, seed, train, val, arguments) for seed in arguments.seeds]
            rows.append(['', start, *(mean_and_range(column) for column in zip(*found, strict=True))])
            print(rows[-1], flush=True)
    head = ['teacher', 'student starts from', 'at once', f'after {arguments.iters // 4}', f'after {arguments.iters}']
    table = '\n'.join(f"| {' | '.join(row)} |" for row in [head, ['---'] * len(head), *rows])
    print(table)
    if arguments.report:
        text = arguments.report.read_text() if arguments.report.exists() else ''
        arguments.report.write_text(f'{text.split(MARK)[0]}{MARK}\n\n{table}\n')


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder of T91, BSDS400 and Set5')
    parser.add_argument('--teachers', nargs='+', default=TEACHERS, help='weight files or known names of x4 networks')
    parser.add_argument('--iters', type=int, default=200)
    parser.add_argument('--lr', type=float, default=5e-4, help="Adam's learning rate")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--report', type=Path, help='Markdown file, whose text above the table is kept')
    return parser.parse_args()


def images(data: Path | None) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and to validate with."""
    if data is None:
        return photographs('chelsea', 'coffee', 'rocket'), photographs('astronaut')
    gts = [mod_crop(cv2.imread(str(path)), SCALE)
           for path in sorted([*(data / 'T91').glob('*.png'), *(data / 'BSDS400').glob('*.jpg')])]
    train = [(gt, bicubic_reduction(gt, SCALE)) for gt in gts if min(gt.shape[:2]) >= GT_SIZE]
    val = [(cv2.imread(str(path)), cv2.imread(str(data / 'Set5/LR_bicubic_x4' / path.name)))
           for path in sorted((data / 'Set5/HR').glob('*.png'))]
    return train, val


def photographs(*names: str) -> list[Pair]:
    """Embedded photographs, in OpenCV's order of channels."""
    opt = {'images': list(names), 'phase': 'val', 'scale': SCALE}
    return [(gt[..., ::-1], lq[..., ::-1]) for gt, lq in SampleImageDataset(opt).pairs]


def trial(teacher: Model, start: str, seed: int, train: list[Pair], val: list[Pair],
          arguments: argparse.Namespace) -> list[float]:
    """PSNR of one student at once, after a quarter of the iterations, and after all of them."""
    torch.manual_seed(seed)
    network = {key: value // 2 if key in WIDTHS else value for key, value in teacher.identity.network.items()}
    student = build_network(network, 'student')
    if start != 'random':
        student.load_state_dict(slim(teacher.net, student, start))  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(student.parameters(), lr=arguments.lr)
    found = [psnr(student, val)]
    for iteration, (lq, gt) in enumerate(batches(train, seed, arguments.iters), 1):
        student.train()
        optimizer.zero_grad()
        l1_loss(student(lq), gt).backward()
        optimizer.step()
        if iteration in (arguments.iters // 4, arguments.iters):
            found.append(psnr(student, val))
    return found


def batches(pairs: list[Pair], seed: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same crops for every start: ``lq`` (b, 3, h, w) and ``gt`` (b, 3, 4 h, 4 w), 0..1."""
    state = random.Random(seed)
    for _ in range(count):
        random.seed(state.random())  # BasicSR's crop draws from the global numbers
        crops = [paired_random_crop(*pairs[state.randrange(len(pairs))], GT_SIZE, SCALE) for _ in range(BATCH)]
        gt, lq = (torch.stack([as_tensor(crop[side]) for crop in crops]) for side in (0, 1))
        yield lq, gt


def as_tensor(image: np.ndarray) -> Tensor:
    """(h, w, 3) of uint8, BGR, to (3, h, w) of 0..1, RGB."""
    return img2tensor(image.astype(np.float32) / 255)


@torch.no_grad()
def psnr(net: nn.Module, pairs: list[Pair]) -> float:
    """Mean PSNR of the luminance, without a border of SCALE pixels."""
    net.eval()
    return fmean(calculate_psnr(tensor2img(net(as_tensor(lq)[None])), gt, SCALE, test_y_channel=True)
                 for gt, lq in pairs)


def size_of(net: nn.Module) -> str:
    """Its parameters, in words."""
    return f'{sum(parameter.numel() for parameter in net.parameters()) / 1e6:.2f} M parameters'


def mean_and_range(values: Sequence[float]) -> str:
    """The mean, and in brackets the lowest and the highest value where they differ."""
    if max(values) - min(values) < 0.005:
        return f'{values[0]:.2f}'
    return f'{fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})'


if __name__ == '__main__':
    main()
