"""A stand-in for the package pyiqa, which would download weights."""

import torch

LOWER = ('niqe',)


class Metric(torch.nn.Module):
    """What ``pyiqa.create_metric`` returns: images (n, 3, h, w), RGB, 0..1, to (n,) or (n, 1) values."""

    def __init__(self, name):
        super().__init__()
        self.name, self.lower_better, self.seen = name, name in LOWER, []

    def forward(self, target, ref=None):
        assert target.dim() == 4 and target.min() >= 0 and target.max() <= 1
        assert min(target.shape[2:]) >= 16, 'too small'
        self.seen.append(target)
        torch.rand(3)  # a random crop
        return 50 * target[:, 0].mean((1, 2)).reshape(-1, 1)
