"""BasicSR's ``SRModel`` without its traps: errors that name the key, safe weights, sure saving, validation anywhere."""
from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cached_property
from inspect import signature
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from sdakd_plugin import weights
from sdakd_plugin.data.published import completed
from sdakd_plugin.data.scales import at_scales, check_out_size, check_scales
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.stages import Schedule
from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.families.calling import largest_scale, super_resolve
from sdakd_plugin.models.checkpoints import NETWORKS, STATES, Checkpoints
from sdakd_plugin.models.learning_rate import check_periods, resumed
from sdakd_plugin.options import parse
from sdakd_plugin.resume import run_position
from sdakd_plugin.slimming.slim import weights_from_teacher
from sdakd_plugin.utils import processes
from sdakd_plugin.utils.build import build_network
from sdakd_plugin.utils.random_state import undisturbed_rng

FUSED = ('Adam', 'AdamW')  # torch's fused SGD fails where a connector's momentum begins later than the network's
IMPLEMENTATION = ('fused', 'foreach', 'capturable', 'differentiable')  # how an optimizer computes, not what


class PluginModel(SRModel):
    """The part of a model that any training in BasicSR needs; what is trained, subclasses say.

    Args:
        opt: BasicSR's options. They are not changed.

    Raises:
        UserError: one line for the first thing in the options, weights or devices that cannot work.
    """

    schedule: Schedule
    lq_scale: Tensor | None = None  # (n,), of each LQ image, where they have GT's size

    def __init__(self, opt: Mapping[str, Any]) -> None:
        opt = completed(opt)
        self.options = parse(opt)
        self.validating = False
        self.validated_at: dict[str, int] = {}  # the last iteration, by data set
        self.resumed = 0  # the iteration from which the run went on
        check_device(self.options.num_gpu, self.options.dist)
        super(SRModel, self).__init__(deepcopy(dict(opt)))  # not SRModel's: its errors name neither key nor file
        self.net_g = self.model_to_device(build_network(self.opt['network_g'], 'network_g'))
        check_out_size(self.options, getattr(self.get_bare_model(self.net_g), 'out_size', None))
        check_scales(self.options, largest_scale(self.net_g))
        self.print_network(self.net_g)
        self.load_pretrained(self.net_g, 'g', 'params')
        if self.is_train:
            self.init_training_settings()

    @cached_property
    def forward_pass(self) -> ForwardPass:
        """How the student and the discriminators run."""
        train = self.options.train if self.is_train else None
        if train is None:
            return ForwardPass(self.device)
        return ForwardPass(self.device, train.precision.student, train.channels_last)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        self.forward_pass.prepare(net)
        if self.opt['dist'] and self.device.type == 'cpu':  # BasicSR's own asks CUDA for a device number
            return DistributedDataParallel(net.to(self.device))
        return super().model_to_device(net)

    def load_pretrained(self, net: nn.Module, label: str, param_key: str) -> None:
        """Load ``path.pretrain_network_<label>``, if any: a file of any common shape, a known name, or, for the
        generator, the word ``teacher``: what fits of the teacher's weights."""
        path_opt = self.opt['path']
        source = path_opt.get(f'pretrain_network_{label}')
        if source is None:
            return
        role = f'path.pretrain_network_{label}'
        bare = self.get_bare_model(net)
        if label == 'g' and source == 'teacher':
            state = weights_from_teacher(bare, self.opt['network_g'], self.options.teacher, role)
            weights.load_into(bare, state, 'the teacher', role)
            get_root_logger().info(f'{role}: the student starts from its teacher')
            return
        if param_key == 'params':
            param_key = path_opt.get(f'param_key_{label}', param_key)
        path, state = weights.load(source, role, param_key)
        weights.load_into(bare, state, path, role, path_opt.get(f'strict_load_{label}', True))
        get_root_logger().info(f'Loaded {role}: {path}')

    def init_ema(self, decay: float) -> None:
        """Make the averaged student as BasicSR does, which draws as many random numbers."""
        self.ema_decay = decay
        if decay > 0:
            net_g_ema = build_network(self.opt['network_g'], 'network_g').to(self.device)
            self.net_g_ema = self.forward_pass.prepare(net_g_ema)
            self.net_g_ema.load_state_dict(self.get_bare_model(self.net_g).state_dict())
            self.load_pretrained(self.net_g_ema, 'g', 'params_ema')
            self.net_g_ema.eval()

    def make_optimizer(self, key: str, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
        """Any optimizer of torch, as ``train.<key>`` says, for the trainable parameters of ``modules``."""
        parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
        block = dict(self.opt['train'][key])
        kind = block.pop('type', None)
        known = [name for name in dir(torch.optim) if isinstance(getattr(torch.optim, name), type)]
        if kind not in known:
            raise UserError(f"train.{key}.type: there is no optimizer '{kind}'" + nearest(kind, known))
        if 'betas' in signature(getattr(torch.optim, kind)).parameters:
            block = {**self.regularised_betas(key), **block}
        if self.device.type == 'cuda' and kind in FUSED and not {'fused', 'foreach'} & set(block):
            block['fused'] = True  # decides on the device whether it steps: distillation/updates.py
        try:
            return getattr(torch.optim, kind)(parameters, **block)
        except (TypeError, ValueError) as error:
            raise UserError(f'train.{key}: {error}') from error

    def regularised_betas(self, key: str) -> dict[str, Any]:
        """The betas of Adam for a network that is regularised only now and then (StyleGAN2, appendix B)."""
        train = self.options.train
        assert train is not None
        every = train.net_g_reg_every if key == 'optim_g' else train.net_d_reg_every
        return {} if every is None else {'betas': (0.0, 0.99 ** (every / (every + 1)))}

    def setup_schedulers(self) -> None:
        assert self.options.train is not None
        check_periods(self.options.train.scheduler, self.options.train.total_iter)
        try:
            super().setup_schedulers()
        except (AssertionError, KeyError, NotImplementedError, TypeError) as error:
            raise UserError(f'train.scheduler: {error}') from error

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        run_position.current.stopwatch.start()  # an iteration begins with this
        with warnings.catch_warnings():  # torch wonders about a discriminator that waits for its stage
            warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step', UserWarning)
            super().update_learning_rate(current_iter, warmup_iter)

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """BasicSR's moving average, in two operations instead of two for each tensor, and with the buffers, so that
        BatchNorm's statistics follow."""
        net_g = self.get_bare_model(self.net_g)
        ema: list[Tensor] = list(self.net_g_ema.parameters())
        current: list[Tensor] = list(net_g.parameters())
        torch._foreach_mul_(ema, decay)
        torch._foreach_add_(ema, current, alpha=1 - decay)
        for averaged, buffer in zip(self.net_g_ema.buffers(), net_g.buffers(), strict=True):
            averaged.copy_(buffer)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        super().feed_data(data)
        self.lq_scale = data.get('lq_scale')

    def test(self) -> None:
        """Super-resolve ``lq`` with the averaged student where there is one; never through a distributed wrapper,
        for only the first process validates."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        with torch.no_grad():
            self.output = super_resolve(net, self.lq, self.lq_scale)
        net.train(training)

    def print_network(self, net: nn.Module) -> None:
        """Log a line about a network; BasicSR's hundreds of lines about its layers push all else out of sight."""
        bare = self.get_bare_model(net)
        parameters = sum(parameter.numel() for parameter in bare.parameters())
        get_root_logger().info(f'Network: {type(bare).__name__}, with parameters: {parameters:,d}')

    def validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        """BasicSR's, unless its loop has just validated these weights: at its end it does so again."""
        if (number := self.due(dataloader, current_iter)) is not None:
            super().validation(dataloader, number, tb_logger, save_img)

    def due(self, dataloader: Any, current_iter: Any) -> Any:
        """The iteration of a validation, ``None`` where it has been made.

        Behind the last iteration BasicSR's loop counts on, by one or, at the end of an epoch, by two.
        """
        if not self.is_train:  # then it is a name
            return current_iter
        assert self.options.train is not None
        name, last = dataloader.dataset.opt['name'], max(self.options.train.total_iter, self.resumed)
        if current_iter > last and self.validated_at.get(name) == last:
            return None
        self.validated_at[name] = min(current_iter, last)
        return self.validated_at[name]

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        self.validating = True  # batches are taken as they are: no degradation
        # a loader draws a seed for its workers
        with undisturbed_rng(), run_position.current.stopwatch.paused():
            self._validate(dataloader, current_iter, tb_logger, save_img)

    def _validate(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        try:
            views = at_scales(dataloader.dataset, self.options.scales)
            for view in views:
                loader = dataloader if view is dataloader.dataset else DataLoader(view)
                super().nondist_validation(loader, current_iter, tb_logger, save_img)
                self.validated(view.opt['name'], current_iter)
        finally:
            self.validating = False

    def dist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """On the first process; the others wait, on the CPU, or a timeout of the GPUs' backend would end the run."""
        super().dist_validation(dataloader, current_iter, tb_logger, save_img)
        processes.wait()

    def validated(self, dataset: str, current_iter: Any) -> None:
        """Called when ``metric_results`` of a data set is there."""

    # ------------------------------------------------------------------------------------------------------ saving

    @property
    def networks(self) -> dict[str, dict[str, nn.Module]]:
        """What is saved: for each file's name the networks by their key in it."""
        raise NotImplementedError

    @property
    def labels(self) -> list[str]:
        """The ends of the students' file names."""
        return ['']

    @cached_property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.opt, self.options.logger, self.labels)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save BasicSR's networks and training state; on every process, as each has a part in the state."""
        number = 'latest' if current_iter == -1 else str(current_iter)
        contents: dict[str, Any] = {}
        for label, nets in self.networks.items():
            content = {key: plain_state(self.get_bare_model(net)) for key, net in nets.items()}
            contents[f'{NETWORKS}/{label}_{number}.pth'] = content
        if current_iter != -1:
            contents[f'{STATES}/{number}.state'] = self.training_state(epoch, current_iter)
        if self.opt['rank'] == 0:
            self.checkpoints.write(contents)
            if current_iter != -1:
                run_position.current.stopwatch.save(self.opt['path'].get('experiments_root'), current_iter)

    def training_state(self, epoch: int, current_iter: int) -> dict[str, Any]:
        """BasicSR's training state, plus all that a resumed run needs to go on as if it had not been stopped."""
        return {'epoch': epoch, 'iter': current_iter,
                'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
                'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
                'connectors': {name: loss.state_dict() for name, loss in self.connectors.items()},
                'stage': self.schedule.at(current_iter).name, 'data': self.data_options(),
                'processes': processes.gathered(self.process_state())}

    def process_state(self) -> dict[str, Any]:
        """What each process has for itself: its random numbers, and its place in the epoch."""
        return {'random': run_position.current.state()}

    def load_process_state(self, state: Mapping[str, Any], same_data: bool) -> None:
        """Put it back; without the place in the epoch where the data differ."""
        run_position.current.load_state(state['random'], same_data)

    def load_common_state(self, state: Mapping[str, Any]) -> None:
        """Put back that part of a process's state in which all processes must agree."""

    def data_options(self) -> dict[str, Any]:
        """What decides which images a batch holds."""
        block = self.opt['datasets'].get('train', {})
        keys = ('type', 'batch_size_per_gpu', 'num_worker_per_gpu', 'dataset_enlarge_ratio')
        return {'world_size': self.opt['world_size'], **{key: block.get(key) for key in keys}}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on from a training state. Where the data are other ones than before, its epoch is corrected.

        Raises:
            UserError: the state belongs to a run with other networks or losses, its iteration was in another stage or
                behind other milestones of the learning rate, or it lies behind the end.
        """
        if len(resume_state['optimizers']) != len(self.optimizers) \
                or set(resume_state.get('connectors', {})) != set(self.connectors):
            raise UserError('path.resume_state: the state is of a run with other networks or losses')
        iteration, stage, last = resume_state['iter'], resume_state.get('stage'), self.schedule.stages[-1].last
        if iteration > last:
            raise UserError(f'path.resume_state: is of iteration {iteration}, but train.total_iter is {last}; '
                            'make the schedule longer, or go on from an earlier state')
        if stage not in (None, self.schedule.at(iteration).name):
            raise UserError(f"train.stages: iteration {iteration} of the run was in the stage '{stage}', and would now "
                            f"be in '{self.schedule.at(iteration).name}'; change only stages that have not begun")
        states = [as_built(state, optimizer)
                  for state, optimizer in zip(resume_state['optimizers'], self.optimizers, strict=True)]
        schedulers = resumed(self.schedulers, resume_state['schedulers'], iteration)
        super().resume_training({**resume_state, 'optimizers': states, 'schedulers': schedulers})
        self.resumed = iteration
        run_position.current.stopwatch.resume(self.opt['path'].get('experiments_root'), iteration)
        for name, loss in self.connectors.items():
            loss.load_state_dict(resume_state['connectors'][name])
        was, now = resume_state.get('data'), self.data_options()
        if was != now:
            get_root_logger().warning(other_data(was or {}, now))
            resume_state['epoch'] = run_position.epoch_of(iteration, self.opt)  # where BasicSR's loop begins
        elif self.opt['datasets']['train'].get('persistent_workers') and now['num_worker_per_gpu']:
            get_root_logger().warning('datasets.train.persistent_workers: the random numbers of such workers are in no '
                                      'training state; images may be augmented otherwise than without the stop.')
        run_position.current.start(resume_state)
        processes_before = resume_state.get('processes', [])
        if self.opt['rank'] < len(processes_before):
            self.load_process_state(processes_before[self.opt['rank']], was == now)
        elif processes_before:  # a new process: its random numbers go on from its seed
            self.load_common_state(processes_before[0])

    @property
    def connectors(self) -> dict[str, nn.Module]:
        """The losses with parameters of their own, by name."""
        return {}


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """A network's tensors on the CPU, in the usual order of memory whatever the training used."""
    return {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}


def as_built(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state, to be computed with as this optimizer was built: another machine, or stock BasicSR, may
    have saved it with another implementation, such as none that is fused."""
    own = {key: optimizer.defaults[key] for key in IMPLEMENTATION if key in optimizer.defaults}
    return {**state, 'param_groups': [{**group, **own} for group in state['param_groups']]}


def other_data(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What it means to go on with other ``data_options`` than before."""
    changes = ', '.join(f'{key} {was.get(key)} before and {now[key]} now' for key in now if was.get(key) != now[key])
    return (f'Resuming with other data, workers or processes than before ({changes}): weights, optimizers, learning '
            'rates and stages go on. The epoch begins anew, a process that was not there before draws its random '
            'numbers from its seed and fills its own pool, and the run is not the one that it would have been.')


def check_device(num_gpu: int | str, dist: bool) -> None:
    """Raise a UserError where ``num_gpu`` asks for what the machine or the launcher does not give."""
    if isinstance(num_gpu, int) and num_gpu > 0 and not torch.cuda.is_available():
        raise UserError(f'num_gpu: {num_gpu}, but this machine has no CUDA device; use 0 (the CPU) or auto')
    if isinstance(num_gpu, int) and num_gpu > 1 and not dist:
        raise UserError(f'num_gpu: {num_gpu} needs one process for each GPU: torchrun --nproc_per_node={num_gpu} '
                        'basicsr/train.py -opt FILE --launcher pytorch; or use num_gpu: 1')
