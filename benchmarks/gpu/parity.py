"""Without a teacher, the plugin trains as stock BasicSR does: the same losses and weights in float32."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import set_random_seed
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.gpu.trial import SMALL, Found, Trial, deterministic
from benchmarks.step import options
from benchmarks.step.options import Options, Setting
from sdakd_plugin.ablation.arms import full_size
from sdakd_plugin.data.published import completed
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.stock.silence import quiet

NETWORKS = ('net_g', 'net_d', 'net_g_ema')
MARGIN = 4  # times stock's difference from itself, which is 0 if all algorithms are deterministic
USM = ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')
ABOUT = (
    'The largest differences from stock after {} iterations, without TF32: of a loss, relative to it, and of a weight. '
    "stock's Adam: not the fused one, with which the plugin avoids waiting and which rounds otherwise."
)

Result = tuple[list[dict[str, float]], dict[str, Tensor]]


def parity(trial: Trial) -> Found:
    """Compare the plugin with SRGANModel and, on a card, RealESRGANModel; and these with themselves."""
    deterministic()
    iterations = 3 if trial.small else 8
    found, rows = Found(notes=[ABOUT.format(iterations)]), []
    models = {'SRGANModel': 'bicubic', 'RealESRGANModel_basicsr': 'real'}
    if trial.device == 'cpu':
        del models['RealESRGANModel_basicsr']
        found.notes.append("RealESRGANModel is left out: stock's needs CUDA.")
    for stock, degradation in models.items():
        opt, data = without_teacher(trial, degradation, iterations)
        plain = deepcopy(opt)
        for key in ('optim_g', 'optim_d'):
            plain['train'][key]['foreach'] = True  # stock's choice on a GPU
        reference = train({**plain, 'model_type': stock}, data)
        again = difference(train({**plain, 'model_type': stock}, data), reference)
        same, usual = (difference(train(own, data), reference) for own in (plain, opt))
        rows += [{stock: 'stock again', **again}, {stock: "plugin, stock's Adam", **same}, {stock: 'plugin', **usual}]
        wrong = [f'{key} by {same[key]:.1e}' for key in same if not same[key] <= MARGIN * again[key]]
        found.surprises += [f'broken: differs from {stock} in {", ".join(wrong)}'] if wrong else []
    found.tables = [[{k: f'{v:.1e}' if isinstance(v, float) else v for k, v in row.items()} for row in rows]]
    found.numbers = rows
    return found


def without_teacher(trial: Trial, degradation: str, iterations: int) -> tuple[Options, list[dict[str, Any]]]:
    """Options of one stage with stock's discriminator, and batches of photographs."""
    batch, size, blocks = (*SMALL, 1) if trial.small else (4, 128, None)
    setting = Setting('sdakd', torch.device(trial.device), batch, size, blocks=blocks)
    opt = options.without_teacher(full_size(options.sdakd(setting)))
    del opt['train']['stages']
    block: Options = {'name': 'photos', 'type': 'PhotoDataset', 'dataroot_gt': trial.photos, 'degradation': degradation}
    block |= {'gt_size': size, 'batch_size_per_gpu': batch, 'phase': 'train', 'scale': 4}
    opt |= {'datasets': {'train': block}, 'queue_size': 2 * batch, **dict.fromkeys(USM, degradation == 'real')}
    opt = completed(opt)
    set_random_seed(0)
    dataset: Any = build_dataset(opt['datasets']['train'])
    items = [dataset[number % len(dataset)] for number in range(batch * iterations)]
    return opt, [default_collate(items[first : first + batch]) for first in range(0, len(items), batch)]


def train(opt: Options, data: list[dict[str, Any]]) -> Result:
    """The losses of each iteration, and the networks' final weights."""
    set_random_seed(0)
    log = []
    with quiet():
        model: Any = build_model(opt)
        for iteration, batch in enumerate(data, 1):
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
            log.append({k: v for k, v in model.get_current_log().items() if k.startswith(('l_', 'out_'))})
    nets = {name: getattr(getattr(model, 'trainee', model), name) for name in NETWORKS}
    return log, {f'{name}.{key}': value for name, net in nets.items() for key, value in net.state_dict().items()}


def difference(one: Result, other: Result) -> Row:
    """The largest differences of two runs."""
    pairs = zip(one[0], other[0], strict=True)
    row = {'losses': max(abs(mine[key] - theirs[key]) / abs(theirs[key]) for mine, theirs in pairs for key in theirs)}
    for name in NETWORKS:
        keys = [key for key in other[1] if key.startswith(f'{name}.')]
        row[name] = max(float((one[1][key] - other[1][key]).abs().max()) for key in keys)
    return row
