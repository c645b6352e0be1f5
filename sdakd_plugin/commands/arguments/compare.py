"""The arguments of ``sdakd compare``."""

from __future__ import annotations

import argparse

from sdakd_plugin.commands.arguments.shared import add_backend, add_device

FILES = ('compare.json', 'compare.md', 'compare.html')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('--gt', required=True, metavar='DIR', help='ground truth: a folder of images, or one image')
    parser.add_argument('--lq', metavar='DIR', help='LQ images of the same names; left out: made from GT, bicubically')
    parser.add_argument(
        '--model',
        required=True,
        action='append',
        metavar='[NAME=]FILE_OR_NAME',
        help='a checkpoint, a name of `sdakd weights list`, or an .onnx or .xml file; NAME is what it is called in the '
        'results; may be repeated',
    )
    parser.add_argument('--out', default='results/compare', metavar='DIR', help=f'for {", ".join(FILES)} (%(default)s)')
    parser.add_argument(
        '--lpips',
        metavar='FILE',
        help="torchvision's AlexNet, whole or its features, for LPIPS; "
        "left out: alexnet-owt-7be5be79.pth in torch's cache, if it is there",
    )
    parser.add_argument(
        '--dists',
        metavar='FILE',
        help="torchvision's VGG16, whole or its features, for DISTS; left "
        "out: vgg16-397923af.pth in torch's cache, if it is there",
    )
    parser.add_argument(
        '--iqa',
        metavar='NAMES',
        help="pyiqa's metrics without a reference, with commas between them: musiq,clipiqa,topiq,maniqa,niqe",
    )
    parser.add_argument('--scale', type=int, metavar='N', help='only for GCFSR without --lq: how far GT is reduced')
    parser.add_argument('--images', type=int, default=6, metavar='N', help='images that the page shows (%(default)s)')
    parser.add_argument('--tile', type=int, default=0, metavar='N', help='as in `sdakd upscale` (0: no tiles)')
    add_backend(parser, 'as in `sdakd upscale`')
    add_device(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace the files of an earlier comparison')
