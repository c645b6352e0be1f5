"""The arguments of ``sdakd export``."""

from __future__ import annotations

import argparse

from sdakd_plugin.export.limits import Limits

FORMATS = ('onnx', 'openvino', 'safetensors', 'ncnn', 'litert', 'coreml')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('file', metavar='FILE', help='a checkpoint, or a name of `sdakd weights list`')
    parser.add_argument('--format', required=True, choices=FORMATS)
    parser.add_argument('--out', metavar='FILE', help='a file or a folder; default: the name of FILE, in this folder')
    parser.add_argument('--fp16', action='store_true', help='half precision: half the size')
    parser.add_argument('--size', type=int, metavar='N', help='fix the input to NxN pixels; GCFSR and litert need it')
    parser.add_argument(
        '--spandrel',
        action='store_true',
        help='safetensors of an RRDBNet with fewer than 32 channels '
        'of growth, filled up with zeros: spandrel loads no other',
    )
    parser.add_argument('--int8', action='store_true', help='compute in 8 bits; onnx, openvino and litert')
    parser.add_argument(
        '--calibrate',
        metavar='DIR',
        help="--int8: LQ images, as the network will get them; left out: scikit-image's photographs",
    )
    parser.add_argument(
        '--max-loss',
        type=float,
        metavar='DB',
        help=f'--int8: PSNR to the ground truth that may be lost ({Limits.max_loss:g})',
    )
    parser.add_argument(
        '--min-fidelity',
        type=float,
        metavar='DB',
        help=f"--int8: PSNR that its images must have to the float network's ({Limits.min_fidelity:g})",
    )
    parser.add_argument('--lpips', metavar='FILE', help="--int8: torchvision's AlexNet, to measure LPIPS too")
    parser.add_argument('--overwrite', action='store_true', help='replace a file that exists')
