"""SDAKDModel built from options and trained on random images, in this process."""

import copy

import torch
from basicsr.models import build_model


def build(options, **more):
    """The model of a run that trains in one process and does not validate."""
    options = copy.deepcopy(options) | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1} | more
    options.pop('val', None)
    return build_model(options)


def batch():
    """The batch of every iteration: two images."""
    torch.manual_seed(5)
    return {'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 64, 64)}


def steps(model, first, last):
    """Train from one iteration to another, both included; the logs by iteration."""
    logs = {}
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch())
        model.optimize_parameters(iteration)
        logs[iteration] = model.get_current_log()
    return logs
