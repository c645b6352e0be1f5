"""Functions that children of ``tests/helpers/warm.py`` run instead of ``sdakd``."""

import os
import pickle
import sys

import basicsr.train
import torch
from basicsr.models import build_model
from basicsr.utils import options as basicsr_options
from torch import distributed

from sdakd_plugin.families.family import unwrap
from sdakd_plugin.resume.training_state import load_resume_state

BATCH = 4  # images, of all processes together


def train_on_shares(arguments):
    """Train on shares of the same batches, and save what came of it in each iteration: gradients, weights, buffers.

    ``arguments``: a file of ``{options, shares, fixed_noise}``, with the images of each process, and where to save.
    """
    source, target = arguments
    with open(source, 'rb') as file:
        order = pickle.load(file)
    opt, shares, rank = order['options'], order['shares'], 0
    if len(shares) > 1:
        basicsr_options.init_dist('pytorch')
        rank = distributed.get_rank()
    torch.set_default_dtype(torch.float64)  # in which a difference is no rounding
    torch.manual_seed(0)
    model = build_model({**opt, 'is_train': True, 'dist': len(shares) > 1, 'rank': rank, 'world_size': len(shares)})
    if order['fixed_noise']:  # GCFSR draws its own in each process
        model.net_g.eval()
    seen = []
    for iteration in range(1, opt['train']['total_iter'] + 1):
        torch.manual_seed(iteration)
        lq, gt = torch.rand(BATCH, 3, 16, 16), torch.rand(BATCH, 3, 64, 64)
        model.update_learning_rate(iteration)
        model.feed_data({'lq': lq[shares[rank]], 'gt': gt[shares[rank]]})
        model.optimize_parameters(iteration)
        model.get_current_log()
        seen.append(snapshot(model))
    torch.save(seen, f'{target}.{rank}')
    if len(shares) > 1:
        distributed.barrier()  # who leaves first would end the other's connection


def snapshot(model):
    """Gradients and states of all networks and connectors that train, by name."""
    modules = dict(model.connectors)
    for member in model.trainees:
        modules.update({name: unwrap(nets['params']) for name, nets in member.networks.items()})
    found = {}
    for name, module in modules.items():
        found.update({f'{name}.{key}': tensor.clone() for key, tensor in module.state_dict().items()})
        found.update(
            {
                f'gradient of {name}.{key}': parameter.grad.clone()
                for key, parameter in module.named_parameters()
                if parameter.grad is not None
            }
        )
    return found


def train_by_stock(arguments):
    """Stock training, where only ``load_resume_state`` is not BasicSR's own: that needs CUDA."""
    sys.argv = ['basicsr/train.py', *arguments[1:]]
    basicsr.train.load_resume_state = load_resume_state
    basicsr.train.train_pipeline(os.getcwd())
