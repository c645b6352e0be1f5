"""Distillation of a super-resolution GAN as public code has it: hooks, a whole float32 pass of the teacher, losses read
back as they come. What it trains is what ``SDAKDModel`` trains in its last stage.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from basicsr.archs import build_network
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.step.options import Options
from sdakd_plugin.networks.frozen import load_frozen


class PlainLoop:
    """``loop()`` is an iteration.

    Args:
        opt: of ``options.sdakd``.
        images: ``lq`` and ``gt``, on the device.
    """

    def __init__(self, opt: Options, images: Mapping[str, Tensor]) -> None:
        torch.manual_seed(0)
        device, teacher, self.train = images['lq'].device, opt['teacher'], opt['train']
        self.lq, self.gt = images['lq'], images['gt']
        self.teacher = load_frozen(teacher['network_g'], teacher['pretrain_network_g'], None, 'g').net.to(device)
        self.student = build_network(opt['network_g']).to(device)
        self.ema = deepcopy(self.student).eval().requires_grad_(False)
        self.net_d = build_network(opt['network_d']).to(device)
        self.layers = self.train['feature_opt']['layers']
        self.student_features = watch(self.student, self.layers)
        self.teacher_features = watch(self.teacher, self.layers)
        narrow, wide = opt['network_g']['num_feat'], teacher['network_g']['num_feat']
        self.align = nn.ModuleDict({name.replace('.', '_'): nn.Sequential(
            nn.Conv2d(narrow, wide, 1), nn.ReLU(inplace=True), nn.Conv2d(wide, wide, 1))
            for name in self.layers}).to(device)
        self.optimizer_g = adam([*self.student.parameters(), *self.align.parameters()])
        self.optimizer_d = adam(self.net_d.parameters())
        self.log: dict[str, float] = {}

    def __call__(self) -> None:
        with torch.no_grad():
            self.teacher(self.lq)
        sr = self.student(self.lq)
        self.step_generator(sr)
        self.step_discriminator(sr.detach())
        with torch.no_grad():
            for averaged, current in zip(self.ema.parameters(), self.student.parameters(), strict=True):
                averaged.mul_(self.train['ema_decay']).add_(current, alpha=1 - self.train['ema_decay'])

    def step_generator(self, sr: Tensor) -> None:
        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        pixel = F.l1_loss(sr, self.gt)
        feature = torch.stack([F.mse_loss(align(self.student_features[name]), self.teacher_features[name])
                               for name, align in zip(self.layers, self.align.values(), strict=True)]).sum()
        gan = against(self.net_d(sr), real=True)
        total = pixel + self.train['feature_opt']['loss_weight'] * feature + self.train['gan_opt']['loss_weight'] * gan
        total.backward()
        self.optimizer_g.step()
        self.log.update(pixel=pixel.item(), feature=feature.item(), gan=gan.item())

    def step_discriminator(self, fake: Tensor) -> None:
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        real_loss = against(self.net_d(self.gt), real=True)
        real_loss.backward()
        fake_loss = against(self.net_d(fake), real=False)
        fake_loss.backward()
        self.optimizer_d.step()
        self.log.update(real=real_loss.item(), fake=fake_loss.item())


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """As in ``options/sdakd_x4.yml``."""
    return torch.optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.99))


def against(scores: Tensor, real: bool) -> Tensor:
    """The vanilla GAN loss."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


def watch(net: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The dictionary in which hooks put the features of each pass."""
    features: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            features[name] = output
        return hook
    for name in layers:
        net.get_submodule(name).register_forward_hook(keep(name))
    return features
