"""BasicSR's model interface for students that do not depend on BasicSR."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger, set_random_seed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sdakd_plugin.data.published import completed
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.iteration import train_iteration
from sdakd_plugin.distillation.stages import Schedule, Stage
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.distillation.trainee import Trainee
from sdakd_plugin.errors import UserError
from sdakd_plugin.models import shared_parts, training_state
from sdakd_plugin.models.checkpoints import NETWORKS, STATES, Checkpoints
from sdakd_plugin.models.health import check_health
from sdakd_plugin.models.learning_rate import check_milestones, check_periods, resumed, scale_rates
from sdakd_plugin.models.networks import Networks
from sdakd_plugin.models.progress_bar import Progress
from sdakd_plugin.models.recovery import Recovery
from sdakd_plugin.models.stage_validation import StageValidation
from sdakd_plugin.models.student import Student, StudentRun, build_generator, build_trainee
from sdakd_plugin.options import parse
from sdakd_plugin.resume.run_position import RunPosition, begun, epoch_of
from sdakd_plugin.utils import processes
from sdakd_plugin.utils.random_state import undisturbed_rng


class LoggedInteger(int):
    """An integer that BasicSR logs as an integer; it formats every other value as ``1.0000e+00``."""

    def __format__(self, spec: str) -> str:
        return str(int(self))


class PluginModel(BaseModel):
    """Base class for models that train one or several students on the same batches; subclasses define the students.

    Args:
        opt: BasicSR's options; not changed.
        position: the position of the run; by default that of the current run, or a new one.

    Raises:
        UserError: the first problem in the options, weights or devices.
    """

    def __init__(self, opt: Mapping[str, Any], position: RunPosition | None = None) -> None:
        opt = completed(opt)
        self.options = parse(opt)
        check_device(self.options.num_gpu, self.options.dist)
        super().__init__(deepcopy(dict(opt)))
        self.position = position or begun() or RunPosition()
        self.recovery: Recovery | None = None  # of train.on_collapse
        train = self.options.train if self.is_train else None
        self.forward_pass = ForwardPass(self.device, *((train.precision.student, train.channels_last) if train else ()))
        if train is not None:
            self.schedule = Schedule.from_train(train)
        self.students = [self.build_student(run) for run in self.student_runs()]
        self.stage_validation = StageValidation(
            self.opt,
            self.options.scales,
            self.students,
            self.schedule if train else None,
            self.position,
            self.device,
            self.validate,
            self.validation_teacher,
        )
        if train is not None:
            self.init_training()

    def student_runs(self) -> list[StudentRun]:
        """The options of each student, one ``StudentRun`` each."""
        return [StudentRun('', self.opt, self.options)]

    def build_student(self, run: StudentRun) -> Student:
        """Build a student, with the random numbers of its own seed if it has one."""
        if run.seed is not None:
            with undisturbed_rng():
                torch.manual_seed(run.seed)
                return self._build_student(run)
        return self._build_student(run)

    def _build_student(self, run: StudentRun) -> Student:
        networks = Networks(run.opt, run.options, self.device, self.forward_pass, self.model_to_device)
        student = Student(run, networks, build_generator(networks))
        if self.is_train:
            student.trainee = build_trainee(run, networks, student.net_g, self.schedule, lambda: self.teachers)
        return student

    def model_to_device(self, net: nn.Module) -> nn.Module:
        if self.opt['dist'] and self.device.type == 'cpu':  # BasicSR's method requires a CUDA device
            return DistributedDataParallel(net.to(self.device))
        return super().model_to_device(net)

    # ------------------------------------------------------------------------------------------------------ training

    def init_training(self) -> None:
        """Build what all students share, then their optimizers, which depend on the exchange."""
        train = self.options.train
        assert train is not None
        self.stage: Stage | None = None
        if train.on_collapse is not None:
            self.recovery = Recovery(train.on_collapse == 'rollback', train.max_rollbacks, self.opt['path'])
        with undisturbed_rng():
            self.exchange = shared_parts.build_exchange(
                self.opt, self.options, self.trainees, self.device, self.model_to_device
            )
            self.degradation = shared_parts.build_degradation(self.opt, self.options, self.device)
        first = 0  # index of the student's first discriminator
        for student, trainee in zip(self.students, self.trainees, strict=True):
            exchanged = [
                self.exchange.of(first + number) if self.exchange else []
                for number in range(len(trainee.discriminators))
            ]
            trainee.make_optimizers(student.networks.optimizer, exchanged)
            first += len(trainee.discriminators)
            self.optimizers += trainee.optimizers
        self.setup_schedulers()
        if train.reseed:  # building the networks has drawn a random number for each weight
            set_random_seed(self.opt['manual_seed'] + self.opt['rank'])
        if not self.opt['path'].get('resume_state'):
            self.stage_validation.validate(0)

    @cached_property
    def trainees(self) -> list[Trainee]:
        """The trainee of each student."""
        return [student.trainee for student in self.students if student.trainee is not None]

    @cached_property
    def teachers(self) -> dict[str, Teacher]:
        """The teachers by the keys of their blocks; without one of which a cache provides everything that is needed."""
        return shared_parts.build_teachers(self.options, self.device)

    @property
    def teacher(self) -> Teacher | None:
        """The first teacher; ``None`` if there is none."""
        return next(iter(self.teachers.values()), None)

    def validation_teacher(self, lq: Tensor) -> Tensor:
        """The first teacher's image (1, c, H, W) of an LQ image; what validation without ground truth compares with."""
        key, block = next(iter(self.options.all_teachers.items()))
        if key not in self.teachers:  # a cache provides its images of the training set
            self.teachers[key] = shared_parts.build_teacher(key, block, self.options, self.device)
        image = self.teachers[key].generate(lq.to(self.device)).sr
        assert image is not None
        return image

    def setup_schedulers(self) -> None:
        assert self.options.train is not None
        check_milestones(self.options.train.scheduler)
        check_periods(self.options.train.scheduler, self.options.train.total_iter)
        try:
            super().setup_schedulers()
        except (AssertionError, KeyError, NotImplementedError, TypeError) as error:
            raise UserError(f'train.scheduler: {error}') from error

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Begin an iteration, of which this is BasicSR's first call.

        Validates if a stage has just ended, steps BasicSR's schedulers, and applies the learning rates of the stage.
        """
        self.position.stopwatch.start()
        self.stage_validation.end_stage_before(current_iter)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:  # the schedulers continue from the rate that they set last
            group['lr'] = group.pop('scheduled_lr', group['lr'])
        with warnings.catch_warnings():  # torch warns about a discriminator whose stage has not begun
            warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step', UserWarning)
            super().update_learning_rate(current_iter, warmup_iter)
        stage = self.schedule.at(current_iter)
        for trainee in self.trainees:
            scale_rates([trainee.optimizer_g], stage.options.lr_g)
            scale_rates(trainee.d_optimizers, stage.options.lr_d)
        if self.recovery is not None and self.recovery.taken:
            for group in groups:
                group.setdefault('scheduled_lr', group['lr'])
                group['lr'] *= self.recovery.rate_factor

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Prepare a batch: paired images, or ground truth (with or without blur kernels) from which LQ is made."""
        self.batch = shared_parts.make_batch(data, self.degradation, self.options, self.device)

    def optimize_parameters(self, current_iter: int) -> None:
        """Train on the batch from ``feed_data``."""
        assert self.options.train is not None
        self.iteration = current_iter
        self.enter(self.schedule.at(current_iter), current_iter)
        train_iteration(
            self.trainees, self.batch, self.teachers, self.exchange, current_iter, self.schedule, self.options.train
        )
        self.progress.update(current_iter)
        if current_iter % self.options.logger.print_freq == 0:
            check_health(current_iter, self.trainees, self.recovery, self.connectors)

    def enter(self, stage: Stage, current_iter: int) -> None:
        """Log the current stage when it begins or resumes."""
        if stage is self.stage:
            return
        if self.stage is None:
            self.progress = Progress(self.schedule.stages[-1].last, current_iter - 1, self.opt['rank'] == 0)
        self.stage = stage
        self.progress.describe(f'stage {stage.number}/{len(self.schedule.stages)} {stage.name}')
        self.progress.note(self.stage_validation.last_and_best())
        assert self.options.train is not None
        get_root_logger().info(self.schedule.describe(stage, self.options.train))

    def get_current_log(self) -> dict[str, float]:
        """The losses, the share of each generator term in the total, the ramps, and the number of the stage, by key.

        The keys of a student with a name end with its suffix. Values are read from the device only here, so that only
        iterations that print wait for it.
        """
        found: dict[str, float] = {}
        for trainee in self.trainees:
            log = dict(self.reduce_loss_dict(trainee.log)) if trainee.log else {}  # the same on all processes
            log.update(shares(log))
            found.update({f'{key}{trainee.suffix}': value for key, value in log.items()})
        assert self.stage is not None
        ramps = {f'ramp_{name}': value for name, value in self.stage.ramped(self.iteration).items()}
        return {**found, **ramps, 'stage': LoggedInteger(self.stage.number)}

    # ---------------------------------------------------------------------------------------------------- validation

    def validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        """Run BasicSR's validation for each student, unless these weights have just been validated."""
        validated = self.validate(dataloader, current_iter, tb_logger, save_img)
        if validated and self.opt['rank'] == 0 and self.opt['val'].get('metrics') is not None:
            self.after_validation(dataloader.dataset.opt['name'])

    def validate(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> bool:
        """Validate on the first process if a validation is due, and return whether it was and its metrics are known.

        The other processes wait on the CPU: a timeout of the GPU backend would end the run.
        """
        iteration = self.stage_validation.due(dataloader, current_iter)
        if iteration is None:
            return False
        complete = True
        if self.opt['rank'] == 0:
            # a data loader draws a seed for its workers
            with undisturbed_rng(), self.position.stopwatch.paused():
                complete = self.stage_validation.run(dataloader, iteration, tb_logger, save_img)
        if self.opt['dist']:
            processes.wait()
        if self.is_train and self.stage is not None:
            self.progress.note(self.stage_validation.last_and_best())
        if self.is_train:
            self.finish_if_stalled(iteration)
        return complete

    def finish_if_stalled(self, iteration: int) -> None:
        """With ``train.stop_when``, save the run and let BasicSR's loop end once the metric no longer improves."""
        when = self.options.train.stop_when if self.options.train else None
        if when is None or not self.opt.get('val') or self.position.finished:
            return
        if iteration >= self.schedule.stages[-1].last or not self.stage_validation.stalled(iteration, when):
            return
        if iteration > self.position.saved:
            self.save(self.position.epoch, iteration)
        if self.stage is not None:
            self.progress.close()
        self.position.finished = True
        get_root_logger().info(
            f'The run ends after iteration {iteration:,}: {when.metric} has not improved in the last {when.patience} '
            'validations (train.stop_when).'
        )

    def after_validation(self, dataset: str) -> None:
        """Called after a validation by BasicSR, when the metrics of all students on a data set are known."""

    # -------------------------------------------------------------------------------------------- saving and resuming

    @property
    def bits(self) -> int | None:
        """The bits of a quantised stage; ``None`` for a float run."""
        quantize = self.options.train.quantize if self.options.train else None
        return quantize.bits if quantize else None

    @property
    def connectors(self) -> dict[str, nn.Module]:
        """The losses with trainable parameters, by name."""
        own = {
            f'{name}{trainee.suffix}': loss for trainee in self.trainees for name, loss in trainee.connectors.items()
        }
        return {**own, **(self.exchange.connectors if self.exchange else {})}

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Saves the checkpoints of the run."""
        return Checkpoints(self.opt, self.options.logger, [student.run.suffix for student in self.students])

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the networks and the training state; called on every process, since each contributes to the state."""
        number = 'latest' if current_iter == -1 else str(current_iter)
        contents: dict[str, Any] = {}
        for trainee in self.trainees:
            for label, content in training_state.checkpoints(trainee).items():
                contents[f'{NETWORKS}/{label}_{number}.pth'] = content
        if current_iter != -1:
            for trainee in self.trainees:  # so that nothing is written for a run that must stop
                trainee.steps.read()
                trainee.steps.check()
            contents[f'{STATES}/{number}.state'] = self.training_state(epoch, current_iter)
        if self.opt['rank'] == 0:
            self.checkpoints.write(contents)
            if current_iter != -1:
                self.position.stopwatch.save(self.opt['path'].get('experiments_root'), current_iter)

    def training_state(self, epoch: int, current_iter: int) -> dict[str, Any]:
        """BasicSR's training state with the additions of ``training_state.py``."""
        process = training_state.capture_process(self.position, self.trainees, self.degradation)
        return {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'connectors': {name: loss.state_dict() for name, loss in self.connectors.items()},
            'stage': self.schedule.at(current_iter).name,
            'data': training_state.data_options(self.opt, self.position.images),
            'processes': processes.gathered(process),
            **({'quantize': self.bits} if self.bits else {}),
            **({'rollbacks': self.recovery.state()} if self.recovery else {}),
        }

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume from a training state. If the data options have changed, its epoch is corrected.

        Raises:
            UserError: see ``training_state.check``; or the option file has another learning-rate schedule for
                iterations that are already trained.
        """
        iteration, connectors = resume_state['iter'], self.connectors
        training_state.check(resume_state, len(self.optimizers), connectors, self.schedule, self.bits)
        optimizers = [
            training_state.as_built(state, optimizer)
            for state, optimizer in zip(resume_state['optimizers'], self.optimizers, strict=True)
        ]
        schedulers = resumed(self.schedulers, resume_state['schedulers'], iteration)
        super().resume_training({**resume_state, 'optimizers': optimizers, 'schedulers': schedulers})
        for optimizer in self.optimizers:
            training_state.match_formats(optimizer)
        for name, loss in connectors.items():
            loss.load_state_dict(resume_state['connectors'][name])
        if self.recovery is not None:
            self.recovery.load_state(resume_state.get('rollbacks', []))
        self.position.stopwatch.resume(self.opt['path'].get('experiments_root'), iteration)
        same_data = self.check_data(resume_state)
        self.position.start(resume_state)
        # taken out: BasicSR keeps the state for the whole run, on the GPU, and these have the pools of all processes
        states = resume_state.pop('processes', [])
        if self.opt['rank'] < len(states):
            training_state.restore_process(
                states[self.opt['rank']], self.position, self.trainees, self.degradation, self.device, same_data
            )
        elif states:  # a new process: its random numbers start from its seed
            training_state.restore_counts(states[0], self.trainees, self.device, is_new=True)
        self.stage_validation.resume(iteration)
        self.finish_if_stalled(iteration)

    def check_data(self, resume_state: dict[str, Any]) -> bool:
        """Whether the batches are those of the interrupted run; if not, warn and correct the epoch for BasicSR."""
        now = training_state.data_options(self.opt, self.position.images)
        changes = training_state.changes(resume_state.get('data', {}), now)
        if changes:
            get_root_logger().warning(training_state.other_data(changes))
            resume_state['epoch'] = epoch_of(resume_state['iter'], self.opt)
        elif self.opt['datasets']['train'].get('persistent_workers') and now['num_worker_per_gpu']:
            get_root_logger().warning(
                'datasets.train.persistent_workers: the random numbers of persistent workers are not in the '
                'training state; images may be augmented differently than without the interruption.'
            )
        return not changes


def shares(log: Mapping[str, float]) -> dict[str, float]:
    """The share of each generator term in the sum of all, by log key."""
    terms = {key: abs(value) for key, value in log.items() if key.startswith('l_g_')}
    total = sum(terms.values()) or 1.0
    return {f'share_{key[4:]}': value / total for key, value in terms.items()}


def check_device(num_gpu: int | str, dist: bool) -> None:
    """Raise a UserError if the machine or the launcher does not provide ``num_gpu`` GPUs."""
    if isinstance(num_gpu, int) and num_gpu > 0 and not torch.cuda.is_available():
        raise UserError(f'num_gpu: {num_gpu}, but this machine has no CUDA device; use 0 (the CPU) or auto')
    if isinstance(num_gpu, int) and num_gpu > 1 and not dist:
        raise UserError(
            f'num_gpu: {num_gpu} needs one process for each GPU: torchrun --nproc_per_node={num_gpu} '
            'basicsr/train.py -opt FILE --launcher pytorch; or use num_gpu: 1'
        )
