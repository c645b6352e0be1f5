"""What is timed: a model in BasicSR's training loop, and a plain loop, each on the same batch in every iteration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from benchmarks.step.options import FOREVER, Options
from sdakd_plugin.networks.frozen import load_frozen

Step = Callable[[], None]

ADAM: dict[str, Any] = {'lr': 1e-4, 'betas': (0.9, 0.99)}  # as in ``options/sdakd_x4.yml``


class Training:
    """``training()`` is an iteration that prints nothing, in one of the model's stages (from 0). The images, ``lq`` and
    ``gt``, are already where the model runs, as with BasicSR's ``CUDAPrefetcher``."""

    def __init__(self, opt: Options, images: Mapping[str, Tensor], stage: int = 0) -> None:
        get_root_logger(log_level=logging.ERROR).setLevel(logging.ERROR)
        torch.manual_seed(0)
        self.model: Any = build_model(opt)
        self.images = images
        self.iteration = stage * FOREVER
        self.warmup = opt['train'].get('warmup_iter', -1)

    def __call__(self) -> None:
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.warmup)
        self.model.feed_data(self.images)
        self.model.optimize_parameters(self.iteration)


class PlainLoop:
    """Distillation of a super-resolution GAN as public code has it: hooks, a whole float32 pass of the teacher, losses
    read back as they come. ``loop()`` is an iteration, of what ``SDAKDModel`` trains in its last stage."""

    def __init__(self, opt: Options, images: Mapping[str, Tensor]) -> None:
        torch.manual_seed(0)
        self.lq, self.gt = images['lq'], images['gt']
        device, teacher, self.train = self.lq.device, opt['teacher'], opt['train']
        self.teacher = load_frozen(teacher['network_g'], teacher['pretrain_network_g'], None, 'g').net.to(device)
        self.student = build_network(opt['network_g']).to(device)
        self.ema = deepcopy(self.student).eval().requires_grad_(False)
        self.net_d = build_network(opt['network_d']).to(device)
        self.layers = self.train['feature_opt']['layers']
        self.student_features = watch(self.student, self.layers)
        self.teacher_features = watch(self.teacher, self.layers)
        narrow, wide = opt['network_g']['num_feat'], teacher['network_g']['num_feat']
        self.align = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 1), nn.ReLU(inplace=True), nn.Conv2d(wide, wide, 1))
            for _ in self.layers
        ).to(device)
        self.optimizer_g = Adam([*self.student.parameters(), *self.align.parameters()], **ADAM)
        self.optimizer_d = Adam(self.net_d.parameters(), **ADAM)
        self.log: dict[str, float] = {}

    def __call__(self) -> None:
        with torch.no_grad():
            self.teacher(self.lq)
        sr = self.student(self.lq)
        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        pixel = F.l1_loss(sr, self.gt)
        feature = torch.stack(
            [
                F.mse_loss(align(self.student_features[name]), self.teacher_features[name])
                for name, align in zip(self.layers, self.align, strict=True)
            ]
        ).sum()
        gan = gan_loss(self.net_d(sr), real=True)
        total = pixel + self.train['feature_opt']['loss_weight'] * feature + self.train['gan_opt']['loss_weight'] * gan
        total.backward()
        self.optimizer_g.step()
        self.log.update(pixel=pixel.item(), feature=feature.item(), gan=gan.item())

        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        for name, image in (('real', self.gt), ('fake', sr.detach())):
            loss = gan_loss(self.net_d(image), real=name == 'real')
            loss.backward()
            self.log[name] = loss.item()
        self.optimizer_d.step()
        with torch.no_grad():
            for averaged, current in zip(self.ema.parameters(), self.student.parameters(), strict=True):
                averaged.mul_(self.train['ema_decay']).add_(current, alpha=1 - self.train['ema_decay'])


def gan_loss(scores: Tensor, real: bool) -> Tensor:
    """The vanilla GAN loss."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


def watch(net: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The dictionary in which hooks put the features of each pass."""
    features: dict[str, Tensor] = {}
    for name in layers:
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: features.update({name: output})
        )
    return features
