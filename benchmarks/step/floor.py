"""The parts of a training step that no order or trick can save, each by itself, in a model of their own that is built
like the one that is measured. The connectors of the feature loss are not among them."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import l1_loss

from benchmarks.step.loops import Step, Training
from sdakd_plugin.families.calling import score, super_resolve

TEACHER = 'teacher to the last tapped layer'
STUDENT, SAMPLE = 'student forward and backward', 'student forward alone'
THROUGH, LEARN = 'discriminator forward, backward to the image', 'discriminator forward and backward'
STEP_G, STEP_D, AVERAGE = 'optimizer of the student', 'optimizer of the discriminator', 'moving average'

ONE_STAGE = {STUDENT: 1, STEP_G: 1, AVERAGE: 1}
ADVERSARIAL = {**ONE_STAGE, THROUGH: 1, LEARN: 2, STEP_D: 1}  # it learns from real and from generated images


def parts(training: Training) -> dict[str, Step]:
    """The parts by name, of a run's first student; those that it lacks are left out."""
    model = training.model
    model.feed_data(training.images)
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

    found: dict[str, Step] = {
        STUDENT: student,
        STEP_G: lambda: drop(trainee.optimizer_g.step()),
        SAMPLE: lambda: drop(trainee.sample(batch)),
    }
    if trainee.net_g_ema is not None:
        found[AVERAGE] = trainee.update_average
    if model.teacher is not None:
        layers = trainee.objective.terms['feature'].teacher_layers
        found[TEACHER] = lambda: drop(model.teacher.generate(batch.lq, layers, False, batch.lq_scale))
    return {**found, THROUGH: through, LEARN: learn, STEP_D: lambda: drop(optimizer.step())}


def drop(_result: Any) -> None:
    """Forget a result."""
