"""The parts of a training step that no order or trick can save, each by itself, in a model of their own that is built
like the one that is measured. The connectors of the feature loss are not among them."""
from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import l1_loss

from benchmarks.step.loops import Step, Training
from sdakd_plugin.distillation.calling import score

TEACHER = 'teacher to the last tapped layer'
STUDENT, SAMPLE = 'student forward and backward', 'student forward alone'
THROUGH, LEARN = 'discriminator forward, backward to the image', 'discriminator forward and backward'
STEP_G, STEP_D, AVERAGE = 'optimizer of the student', 'optimizer of the discriminator', 'moving average'

ONE_STAGE = {STUDENT: 1, STEP_G: 1, AVERAGE: 1}
ADVERSARIAL = {**ONE_STAGE, THROUGH: 1, LEARN: 2, STEP_D: 1}  # it learns from real and from generated images


def parts(training: Training) -> dict[str, Step]:
    """The parts by name, of an ``SDAKDModel`` or one member of a cohort; those that it lacks are left out."""
    model = training.model
    model.feed_data(training.images)
    run, net, gan, optimizer = model.forward_pass, model.net_d, model.terms['gan'].loss, model.d_optimizers[0]

    def student() -> None:
        model.optimizer_g.zero_grad()
        l1_loss(model.generate(model.net_g), model.gt).backward()

    def through() -> None:
        net.requires_grad_(False)
        gan(run(score, net, model.gt.detach().requires_grad_()), True, is_disc=False).backward()

    def learn() -> None:
        net.requires_grad_(True)
        optimizer.zero_grad()
        gan(run(score, net, model.gt), True, is_disc=True).backward()

    found: dict[str, Step] = {STUDENT: student, STEP_G: lambda: drop(model.optimizer_g.step()),
                              SAMPLE: torch.no_grad()(lambda: drop(model.generate(model.net_g)))}
    if model.ema_decay > 0:
        found[AVERAGE] = lambda: model.model_ema(model.ema_decay)
    if model.teacher is not None:
        layers = model.terms['feature'].teacher_layers
        found[TEACHER] = lambda: drop(model.teacher.generate(model.lq, layers, False, model.lq_scale))
    return {**found, THROUGH: through, LEARN: learn, STEP_D: lambda: drop(optimizer.step())}


def drop(_result: Any) -> None:
    """Forget a result."""
