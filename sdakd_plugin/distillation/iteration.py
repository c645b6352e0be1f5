"""One training iteration of K students: SDAKD, LPIPS distillation or SRGAN with one student, a cohort with several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from sdakd_plugin.distillation.batch import TeacherPass, TrainingBatch
from sdakd_plugin.distillation.discriminator import Batch, backward
from sdakd_plugin.distillation.exchange import Exchange
from sdakd_plugin.distillation.stages import Schedule, Stage
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.options import TrainOptions


def train_iteration(
    trainees: Sequence[Trainee],
    batch: TrainingBatch,
    teachers: Mapping[str, Teacher],
    exchange: Exchange | None,
    iteration: int,
    schedule: Schedule,
    train: TrainOptions,
) -> None:
    """Train all students on one batch: first the generators, then the discriminators on the generated images.

    With ``train.d_first`` the discriminators are trained first, on images of a separate forward pass.

    Args:
        trainees: the students; each stores its losses in its ``log``.
        batch: the images.
        teachers: the teachers by their keys; without one whose images come from a cache.
        exchange: the exchange between the discriminators, used in stages that name ``mutual``.
        iteration: the iteration of the run, from 1.
        schedule: the stages.
        train: the options of training.
    """
    stage = schedule.at(iteration)
    for trainee in trainees:
        trainee.begin_iteration(batch, iteration, stage)
    teacher = TeacherPass(teachers, batch)
    real = trainees[0].objective.real_images(batch, teacher, stage) if stage.trains_d else None
    opposes = schedule.opposes(iteration, train)
    if real is not None and train.d_first:
        fakes = [trainee.sample(batch) for trainee in trainees]
        train_discriminators(trainees, real, fakes, exchange, iteration, stage, opposes)
    steps = schedule.generator_steps(iteration, train)
    fakes = [trainee.train_generator(batch, teacher, iteration, stage, steps) for trainee in trainees]
    del teacher  # frees its outputs
    if real is not None and not train.d_first:
        train_discriminators(trainees, real, fakes, exchange, iteration, stage, opposes)
    for trainee in trainees:
        trainee.steps.end_iteration()


def train_discriminators(
    trainees: Sequence[Trainee],
    real: Tensor,
    fakes: Sequence[Tensor],
    exchange: Exchange | None,
    iteration: int,
    stage: Stage,
    opposes: bool,
) -> None:
    """Train all discriminators on the real images, and each on the images of its own student.

    If the stage names ``mutual``, they score all images and learn from each other's scores or features.

    Args:
        trainees: the students.
        real: the real images, (n, c, H, W), range 0..1.
        fakes: the images of each student, (n, c, H, W), without gradients.
        exchange: the exchange between the discriminators.
        iteration: the iteration of the run.
        stage: its stage.
        opposes: whether the generators train against them.
    """
    ready = [trainee.ready_discriminators(stage) for trainee in trainees]
    discriminators = [each for own in ready for each in own]
    owner = [number for number, own in enumerate(ready) for _ in own]  # the student of each discriminator
    batches = [Batch(True, real, range(len(discriminators)))]
    batches += [
        Batch(False, fake, [index for index, of in enumerate(owner) if of == number])
        for number, fake in enumerate(fakes)
    ]
    gan_loss = trainees[0].objective.gan_loss
    assert gan_loss is not None
    used = exchange if 'mutual' in stage.losses else None
    logs = backward(discriminators, gan_loss, batches, used, stage.ramped(iteration))
    for number, (trainee, own) in enumerate(zip(trainees, ready, strict=True)):
        own_logs = [log for log, of in zip(logs, owner, strict=True) if of == number]
        trainee.step_discriminators(own, own_logs, real, iteration, stage, opposes)
