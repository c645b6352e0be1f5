"""Runs of the option files on a GPU in pretence: their options, weights without values, and batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchvision
from torch import Tensor

from sdakd_plugin import weights
from sdakd_plugin.data.published import brings_kernels, completed
from sdakd_plugin.losses import backbone
from sdakd_plugin.models.plugin_model import PluginModel
from sdakd_plugin.networks.build import build_network
from tests.helpers.degradation import seed
from tests.helpers.fake_cuda import Waits, fake_cuda
from tests.helpers.option_files import read
from tests.helpers.training import build

# the networks of the files that option files name; those of known weights are known
FILES: dict[str, dict[str, Any]] = {
    'netG_epoch_4_100': {'type': 'SRGANGenerator', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 4},
    'net_g_latest': {'type': 'SRGANGenerator', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 4, 'num_block': 16},
    'GCFSR_1024': {'type': 'GCFSR', 'out_size': 1024},
    'GCFSR_blind_512': {'type': 'GCFSRBlind', 'out_size': 512},
}
real_load = weights.load
BLOCKS = 4  # of RRDBNet and SRGAN: one for each depth of feature_opt; more would only cost time


def load(source: str, role: str, param_key: str | None = None) -> tuple[Path, dict[str, Tensor]]:
    """In place of ``weights.load``: reads what a run in pretence has saved, and makes the weights of other files."""
    if Path(source).is_file():
        return real_load(source, role, param_key)
    network = weights.KNOWN[source].network if source in weights.KNOWN else FILES[Path(source).stem]
    return Path(source), build_network(shortened(network), role).state_dict()


def shortened(network: Mapping[str, Any]) -> dict[str, Any]:
    """An option block with at most ``BLOCKS`` blocks."""
    most = {'num_block': min(network['num_block'], BLOCKS)} if 'num_block' in network else {}
    return {**network, **most}


def load_state_dict_from_url(url: str, *_: Any, **__: Any) -> dict[str, Tensor]:
    """In place of torchvision's, from which BasicSR's VGG comes."""
    return torchvision.models.get_model(Path(url).name.split('-')[0], weights=None).state_dict()


def read_backbone(file: Path, arch: str, option: str) -> dict[str, Tensor]:
    """In place of ``backbone._read``."""
    return torchvision.models.get_model(arch, weights=None).features.state_dict()


@contextmanager
def rehearsal() -> Iterator[Waits]:
    """A GPU in pretence, where weight files have no values either and need not exist."""
    with (
        fake_cuda() as waits,
        mock.patch.object(weights, 'load', load),
        mock.patch.object(torchvision.models._api, 'load_state_dict_from_url', load_state_dict_from_url),
        mock.patch.object(backbone, 'download', lambda *_: None),
        mock.patch.object(backbone, '_read', read_backbone),
    ):
        seed(0)  # the branches of the degradation
        yield waits


def of_file(name: str) -> dict[str, Any]:
    """The options of a file in ``options/`` for a run on one GPU, with less work where only time is at stake."""
    opt = completed(read(name))
    opt['num_gpu'] = 1
    opt['path'] = {key: value for key, value in opt['path'].items() if key.startswith('pretrain_')}
    opt['datasets']['train']['batch_size_per_gpu'] = 2
    if 'queue_size' in opt:
        opt['queue_size'] = 2  # full after the first iteration
    blocks = opt['network_g'].get('num_block')
    for holder in (opt, opt.get('teacher', {})):
        if 'network_g' in holder:
            holder['network_g'] = shortened(holder['network_g'])
    if blocks and 'feature_opt' in opt['train']:
        feature = opt['train']['feature_opt']
        feature['layers'] = [f'body.{int(layer.split(".")[1]) * BLOCKS // blocks}' for layer in feature['layers']]
    return opt


def small(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the fixture ``options`` for a run on one GPU, with a teacher that is not in a file."""
    options['teacher']['pretrain_network_g'] = 'untrained'
    return options | {'num_gpu': 1}


def batch(opt: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the data loader of a run gives: two images of the training size."""
    block = opt['datasets']['train']
    size = opt.get('gt_size') or block['gt_size']
    gt = torch.zeros(2, 3, size, size)
    if brings_kernels(block):
        kernels = {key: torch.zeros(2, 21, 21) for key in ('kernel1', 'kernel2', 'sinc_kernel')}
        return {'gt': gt, **kernels, 'bicubic': torch.zeros(2, dtype=torch.bool)}
    if 'scales' in opt:
        return {'gt': gt}
    lq = torch.zeros(2, 3, size // opt['scale'], size // opt['scale'])
    return {'lq': lq, 'teacher': gt} | ({} if block['type'] == 'LQPhotoDataset' else {'gt': gt})


def train(
    opt: Mapping[str, Any], after: Callable[[PluginModel], object] = lambda model: None, whole: bool = True, **more: Any
) -> None:
    """Train the first and the last iteration of each stage, and one with R1 if it is lazy; the last one prints.

    Args:
        opt: options for one GPU.
        after: called with the model once it is built.
        whole: otherwise only the first iteration of the last stage.
        more: options that BasicSR adds.
    """
    data = batch(opt)
    model = build(opt, **more)
    after(model)
    lazy = opt['train'].get('net_d_reg_every', 1)
    for stage in model.schedule.stages if whole else model.schedule.stages[-1:]:
        edges = {stage.first, max(stage.first, stage.last // lazy * lazy), stage.last}
        for iteration in sorted(edges) if whole else [stage.first]:
            step(model, data, iteration)
        model.get_current_log()


def step(model: PluginModel, data: Mapping[str, Tensor], iteration: int) -> None:
    """Train one iteration."""
    model.update_learning_rate(iteration)
    model.feed_data(copy.copy(data))
    model.optimize_parameters(iteration)
