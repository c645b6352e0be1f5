"""What is timed: a model in BasicSR's training loop, and a plain loop, each on the same batch in every iteration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.step.options import FOREVER, Options, stock
from sdakd_plugin.networks.frozen import load_frozen

Step = Callable[[], object]


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
    """Distillation of a super-resolution GAN as public code has it: stock BasicSR's networks, losses and optimizers,
    hooks, a whole float32 pass of the teacher, losses read back as they come. ``loop()`` is an iteration, of what
    ``SDAKDModel`` trains in its last stage."""

    def __init__(self, opt: Options, images: Mapping[str, Tensor]) -> None:
        self.lq, self.gt = images['lq'], images['gt']
        self.model, teacher, self.train = Training(stock(opt), images).model, opt['teacher'], opt['train']
        net = load_frozen(teacher['network_g'], teacher['pretrain_network_g'], None, 'g').net.to(self.lq.device)
        self.teacher, self.layers = net, self.train['feature_opt']['layers']
        self.features = [watch(net, self.layers) for net in (self.model.net_g, self.teacher)]
        narrow, wide = opt['network_g']['num_feat'], teacher['network_g']['num_feat']
        self.align = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 1), nn.ReLU(inplace=True), nn.Conv2d(wide, wide, 1))
            for _ in self.layers
        ).to(self.lq.device)
        self.model.optimizer_g.add_param_group({'params': self.align.parameters()})
        self.log: dict[str, float] = {}

    def __call__(self) -> None:
        with torch.no_grad():
            self.teacher(self.lq)
        model, (student, teacher) = self.model, self.features
        sr = model.net_g(self.lq)
        model.net_d.requires_grad_(False)
        model.optimizer_g.zero_grad()
        pixel, gan = model.cri_pix(sr, self.gt), model.cri_gan(model.net_d(sr), True)
        feature = sum(
            F.mse_loss(align(student[name]), teacher[name]) for name, align in zip(self.layers, self.align, strict=True)
        )
        (pixel + self.train['feature_opt']['loss_weight'] * feature + gan).backward()
        model.optimizer_g.step()
        self.log.update(pixel=pixel.item(), feature=feature.item(), gan=gan.item())

        model.net_d.requires_grad_(True)
        model.optimizer_d.zero_grad()
        for name, image in (('real', self.gt), ('fake', sr.detach())):
            loss = model.cri_gan(model.net_d(image), name == 'real', is_disc=True)
            loss.backward()
            self.log[name] = loss.item()
        model.optimizer_d.step()
        model.model_ema(self.train['ema_decay'])


def watch(net: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The dictionary in which hooks put the features of each pass."""
    features: dict[str, Tensor] = {}
    for name in layers:
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: features.update({name: output})
        )
    return features
