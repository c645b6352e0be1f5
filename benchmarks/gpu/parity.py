"""Without a teacher, the plugin trains as stock BasicSR does: the same losses and weights in float32."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.utils import set_random_seed
from torch import Tensor

from benchmarks.gpu.recipes import batches
from benchmarks.gpu.trial import SMALL, Found, Trial, deterministic, float32
from benchmarks.step import options
from benchmarks.step.options import Options, Setting
from sdakd_plugin.ablation.arms import full_size
from sdakd_plugin.data.published import completed
from sdakd_plugin.evaluation.table import Row
from sdakd_plugin.stock.silence import quiet

NETWORKS = ('net_g', 'net_d', 'net_g_ema')
MARGIN = 4  # times stock's difference from itself, which is 0 where all algorithms are deterministic
AGAIN, SAME, USUAL = 'stock again', "the plugin, stock's Adam", 'the plugin as it is'

Result = tuple[list[dict[str, float]], dict[str, Tensor]]


def run(trial: Trial) -> Found:
    """Compare the plugin with stock's SRGANModel and, on a card, RealESRGANModel, and stock with itself."""
    deterministic()
    float32()
    found = Found(tables=[rows := []], notes=[ABOUT.format(iterations := 3 if trial.small else 8)])
    models = {'SRGANModel': 'bicubic', 'RealESRGANModel_basicsr': 'real'}
    if trial.device == 'cpu':
        models.pop('RealESRGANModel_basicsr')
        found.notes.append("RealESRGANModel was left out: stock's needs CUDA.")
    for stock, degradation in models.items():
        opt, data = setup(trial, degradation, iterations)
        itself = train({**opt, 'model_type': stock}, data)
        again = difference(train({**opt, 'model_type': stock}, data), itself)
        same = difference(train(opt, data), itself)
        for key in ('optim_g', 'optim_d'):
            del opt['train'][key]['foreach']
        usual = difference(train(opt, data), itself)
        rows += [{'stock': stock, '': name, **row} for name, row in ((AGAIN, again), (SAME, same), (USUAL, usual))]
        wrong = [f'{key} differs by {same[key]:.1e}' for key in same if same[key] > MARGIN * again[key]]
        if wrong:
            found.surprises.append(f'parity with {stock} is broken: {", ".join(wrong)}')
    found.numbers = [dict(row) for row in rows]
    found.tables = [[{k: f'{v:.1e}' if isinstance(v, float) else v for k, v in row.items()} for row in rows]]
    return found


ABOUT = (
    'The largest differences after {} iterations in float32 without TF32: of a loss, relative to it, and of a weight. '
    "stock's Adam: not the fused one, with which the plugin avoids waiting and which rounds otherwise."
)


def setup(trial: Trial, degradation: str, iterations: int) -> tuple[Options, list[dict[str, Any]]]:
    """Options without a teacher and with stock's discriminator and optimizers, and batches of photographs."""
    batch, size, blocks = (*SMALL, 1) if trial.small else (4, 128, None)
    setting = Setting('sdakd', trial.torch_device, batch, size, blocks=blocks)
    opt = options.without_teacher(full_size(options.sdakd(setting)))
    del opt['train']['stages']
    for key in ('optim_g', 'optim_d'):
        opt['train'][key]['foreach'] = True
    block = {'name': 'photos', 'type': 'PhotoDataset', 'dataroot_gt': trial.photos, 'degradation': degradation}
    opt['datasets'] = {'train': {**block, 'gt_size': size, 'batch_size_per_gpu': batch}}
    opt = completed({**opt, **dict.fromkeys(('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'), degradation == 'real')})
    opt['queue_size'] = 2 * batch  # so that images leave the pool within the few iterations
    return opt, list(islice(batches(opt['datasets']['train'], batch), iterations))


def train(opt: Options, data: Sequence[dict[str, Any]]) -> Result:
    """The losses of each iteration, and the networks' final weights."""
    set_random_seed(0)
    with quiet():
        model: Any = build_model(opt)
        log = []
        for iteration, batch in enumerate(data, 1):
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
            found = model.get_current_log()
            log.append({key: value for key, value in found.items() if key.startswith(('l_', 'out_'))})
    nets = {name: getattr(getattr(model, 'trainee', model), name) for name in NETWORKS}
    return log, {f'{name}.{key}': value for name, net in nets.items() for key, value in net.state_dict().items()}


def difference(one: Result, other: Result) -> Row:
    """The largest differences of two runs."""
    row = {'losses': max(abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(*(r[0] for r in (one, other))) for key in b)}
    for name in NETWORKS:
        keys = [key for key in other[1] if key.startswith(f'{name}.')]
        row[name] = max(float((one[1][key] - other[1][key]).abs().max()) for key in keys)
    return row
