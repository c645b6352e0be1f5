"""The parts of a training step that no order or trick can save, each by itself, in a model of their own that is built
like the one that is measured. The connectors of the feature loss are not among them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor
from torch.nn.functional import l1_loss

from benchmarks.step.loops import Step, Training
from benchmarks.step.options import Options
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.families.calling import score, super_resolve
from sdakd_plugin.options import parse

TEACHER = 'teacher to the last tapped layer'
STUDENT, SAMPLE = 'student forward and backward', 'student forward alone'
THROUGH, LEARN = 'discriminator forward, backward to the image', 'discriminator forward and backward'
STEP_G, STEP_D, AVERAGE = 'optimizer of the student', 'optimizer of the discriminator', 'moving average'

ONE_STAGE = {STUDENT: 1, STEP_G: 1, AVERAGE: 1}
ADVERSARIAL = {**ONE_STAGE, THROUGH: 1, LEARN: 2, STEP_D: 1}  # it learns from real and from generated images


def parts(opt: Options, images: Mapping[str, Tensor]) -> dict[str, Step]:
    """The parts by name, of a run's first student; those that it lacks are left out."""
    model = Training(opt, images).model
    model.feed_data(images)
    trainee, batch = model.trainees[0], model.batch
    run, net, gan, optimizer = trainee.forward_pass, trainee.net_d, trainee.objective.gan_loss, trainee.d_optimizers[0]

    def student() -> None:
        trainee.optimizer_g.zero_grad()
        l1_loss(run(super_resolve, trainee.net_g, batch.lq, batch.lq_scale), batch.gt).backward()

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


def teacher(opt: Options, images: Mapping[str, Tensor]) -> Step:
    """A pass of the teacher to the last tapped layer, without a model."""
    run = ForwardPass(images['lq'].device, channels_last=opt['train']['channels_last'])
    layers = opt['train']['feature_opt']['layers']
    return partial(Teacher(parse(opt).teacher, run).generate, images['lq'], layers, image=False)
