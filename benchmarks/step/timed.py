"""What is timed, each on one batch: a model in BasicSR's training loop, a plain loop, and the parts of an iteration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.step.options import FOREVER, Options, stock
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.families.calling import score, super_resolve
from sdakd_plugin.networks.frozen import load_frozen
from sdakd_plugin.options import parse

Images = Mapping[str, Tensor]
Step = Callable[[], object]

TEACHER = 'teacher to the last tapped layer'
STUDENT, SAMPLE = 'student forward and backward', 'student forward alone'
THROUGH, LEARN = 'discriminator forward, backward to the image', 'discriminator forward and backward'
STEP_G, STEP_D, AVERAGE = 'optimizer of the student', 'optimizer of the discriminator', 'moving average'

ONE_STAGE = {STUDENT: 1, STEP_G: 1, AVERAGE: 1}
ADVERSARIAL = {**ONE_STAGE, THROUGH: 1, LEARN: 2, STEP_D: 1}  # it learns from real and from generated images


class Training:
    """``training()`` is an iteration that prints nothing, in one of the model's stages (from 0). The images, ``lq`` and
    ``gt``, are already where the model runs, as with BasicSR's ``CUDAPrefetcher``."""

    def __init__(self, opt: Options, images: Images, stage: int = 0) -> None:
        get_root_logger(log_level=logging.ERROR).setLevel(logging.ERROR)
        torch.manual_seed(0)
        self.model: Any = build_model(opt)
        self.images = images
        self.iteration = stage * FOREVER

    def __call__(self) -> None:
        self.iteration += 1
        self.model.update_learning_rate(self.iteration)
        self.model.feed_data(self.images)
        self.model.optimize_parameters(self.iteration)


def plain_loop(opt: Options, images: Images) -> Step:
    """An iteration of what ``SDAKDModel`` trains in its last stage, as public code distils: stock BasicSR's networks,
    losses and optimizers, hooks, a whole float32 pass of the teacher, losses read back as they come."""
    model, train, source = Training(stock(opt), images).model, opt['train'], opt['teacher']
    lq, gt, layers = images['lq'], images['gt'], train['feature_opt']['layers']
    teacher = load_frozen(source['network_g'], source['pretrain_network_g'], None, 'g').net.to(lq.device)
    student_features, teacher_features = watch(model.net_g, layers), watch(teacher, layers)
    narrow, wide = opt['network_g']['num_feat'], source['network_g']['num_feat']
    align = nn.ModuleList(
        nn.Sequential(nn.Conv2d(narrow, wide, 1), nn.ReLU(inplace=True), nn.Conv2d(wide, wide, 1)) for _ in layers
    ).to(lq.device)
    model.optimizer_g.add_param_group({'params': align.parameters()})

    def iteration() -> None:
        with torch.no_grad():
            teacher(lq)
        sr = model.net_g(lq)
        model.net_d.requires_grad_(False)
        model.optimizer_g.zero_grad()
        pixel, gan = model.cri_pix(sr, gt), model.cri_gan(model.net_d(sr), True)
        pairs = zip(align, student_features.values(), teacher_features.values(), strict=True)
        feature = torch.stack([F.mse_loss(net(own), teachers) for net, own, teachers in pairs]).sum()
        (pixel + train['feature_opt']['loss_weight'] * feature + gan).backward()
        model.optimizer_g.step()
        for loss in (pixel, feature, gan):
            loss.item()

        model.net_d.requires_grad_(True)
        model.optimizer_d.zero_grad()
        for image, is_real in ((gt, True), (sr.detach(), False)):
            loss = model.cri_gan(model.net_d(image), is_real, is_disc=True)
            loss.backward()
            loss.item()
        model.optimizer_d.step()
        model.model_ema(train['ema_decay'])

    return iteration


def watch(net: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The dictionary in which hooks put the features of each pass."""
    features: dict[str, Tensor] = {}
    for name in layers:
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: features.update({name: output})
        )
    return features


def parts(opt: Options, images: Images) -> dict[str, Step]:
    """What no order or trick can save, by name: each part by itself, of the first student of a model of their own that
    is built like the one that is measured. Left out are parts that it lacks, and the feature loss's connectors."""
    model = Training(opt, images).model
    model.feed_data(images)
    trainee, batch = model.trainees[0], model.batch
    run, net, gan, optimizer = trainee.forward_pass, trainee.net_d, trainee.objective.gan_loss, trainee.d_optimizers[0]

    def student() -> None:
        trainee.optimizer_g.zero_grad()
        F.l1_loss(run(super_resolve, trainee.net_g, batch.lq, batch.lq_scale), batch.gt).backward()

    def through() -> None:
        net.requires_grad_(False)
        gan(run(score, net, batch.gt.detach().requires_grad_()), True, is_disc=False).backward()

    def learn() -> None:
        net.requires_grad_(True)
        optimizer.zero_grad()
        gan(run(score, net, batch.gt), True, is_disc=True).backward()

    found = {STUDENT: student, STEP_G: trainee.optimizer_g.step, SAMPLE: partial(trainee.sample, batch)}
    if trainee.net_g_ema is not None:
        found[AVERAGE] = trainee.update_average
    if model.teacher is not None:
        layers = trainee.objective.terms['feature'].teacher_layers
        found[TEACHER] = partial(model.teacher.generate, batch.lq, layers, False, batch.lq_scale)
    return {**found, THROUGH: through, LEARN: learn, STEP_D: optimizer.step}


def teacher(opt: Options, images: Images) -> Step:
    """A pass of the teacher to the last tapped layer, without a model."""
    run = ForwardPass(images['lq'].device, channels_last=opt['train']['channels_last'])
    layers = opt['train']['feature_opt']['layers']
    return partial(Teacher(parse(opt).teacher, run).generate, images['lq'], layers, image=False)
