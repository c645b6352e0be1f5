"""A cohort of SRGANs in one run, whose discriminators teach each other (Lee and Park, 2022)."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from sdakd_plugin.distillation.discriminator import Batch, backward
from sdakd_plugin.distillation.exchange import make_exchange
from sdakd_plugin.distillation.stages import Schedule, Stage
from sdakd_plugin.models.plugin_model import PluginModel, check_device
from sdakd_plugin.models.sdakd_model import SDAKDModel
from sdakd_plugin.options import MemberOptions, parse
from sdakd_plugin.utils.random_state import undisturbed_rng


class Member(SDAKDModel):
    """One SRGAN of a cohort: a model like any other, whose files and log entries carry its name.

    Args:
        opt: the member's own options, as ``member_options`` makes them.
        name: its name.
        speaks: whether it shows progress and feeds the others; one member of the cohort does.
    """

    def __init__(self, opt: Mapping[str, Any], name: str, speaks: bool) -> None:
        self.label, self.speaks = f'_{name}', speaks
        self.exchanged: list[nn.Module] = []  # losses that it learns with from its peers, parameters and all
        super().__init__(opt)

    def init_degradation(self) -> None:
        self.degradation = None
        if self.speaks:
            super().init_degradation()

    def setup_optimizers(self) -> None:
        """Wait for ``exchanged``; then ``finish`` makes them."""

    def setup_schedulers(self) -> None:
        """As the optimizers."""

    def finish(self, exchanged: list[nn.Module]) -> None:
        """Make the optimizers and schedulers, once it is known what is exchanged."""
        self.exchanged = exchanged
        super().setup_optimizers()
        super().setup_schedulers()

    def exchanged_by(self, number: int) -> list[nn.Module]:
        return self.exchanged

    def _log_validation_metric_values(self, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        named = f'{dataset_name}/{self.label[1:]}'
        self.best_metric_results[named] = self.best_metric_results[dataset_name]
        super()._log_validation_metric_values(current_iter, named, tb_logger)


@MODEL_REGISTRY.register()
class MutualSRGANModel(PluginModel):
    """K complete SRGANs in one run of stock BasicSR. Each is validated, and saved as ``net_g_NAME_*.pth`` and
    ``net_d_NAME_*.pth``; after each validation the log names the best.

    All train on the same batches. Each generator works against its own discriminator. Where the stage names
    ``mutual``, the discriminators score the same images, the ground truth and every member's output, and learn from
    each other's answers. With ``mutual_opt.loss_weight: 0`` the members are K independent runs, bit for bit.

    Args:
        opt: BasicSR's options, with ``cohort``. They are not changed.

    Raises:
        UserError: as ``SDAKDModel``, and where the members' scores do not fit together.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.options = parse(opt)
        self.validated_at, self.resumed = {}, 0
        check_device(self.options.num_gpu, self.options.dist)
        BaseModel.__init__(self, deepcopy(dict(opt)))
        assert self.options.cohort is not None
        self.members: list[Member] = []
        for member in self.options.cohort:
            with undisturbed_rng():
                torch.manual_seed(member.manual_seed)  # as BasicSR's manual_seed in a run of its own
                self.members.append(Member(member_options(self.opt, member), member.name, not self.members))
        if self.is_train:
            self.init_training_settings()

    def init_training_settings(self) -> None:
        train = self.options.train
        assert train is not None
        self.schedule = Schedule.from_train(train)
        self.mutual = None
        discriminators = [member.get_bare_model(member.net_d) for member in self.members if member.net_d is not None]
        if 'mutual' in train.losses and discriminators:
            with undisturbed_rng():
                self.mutual = make_exchange(self.opt['train']['mutual_opt'], self.options, discriminators, self.device)
            if self.mutual is not None:
                self.mutual.distribute(self.model_to_device)
        for number, member in enumerate(self.members):
            member.finish(self.mutual.of(number) if self.mutual else [])
            self.optimizers += member.optimizers
            self.schedulers += member.schedulers

    @property
    def connectors(self) -> dict[str, nn.Module]:
        own = {f'{name}{member.label}': loss for member in self.members for name, loss in member.connectors.items()}
        return {**own, **(self.mutual.connectors if self.mutual else {})}

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Give all members the same batch."""
        first, *others = self.members
        first.feed_data(data)
        for member in others:
            member.lq, member.gt, member.gt_usm = first.lq, first.gt, getattr(first, 'gt_usm', None)
            member.lq_scale, member.teacher_image = first.lq_scale, first.teacher_image

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        for member in self.members:
            member.update_learning_rate(current_iter, warmup_iter)

    def optimize_parameters(self, current_iter: int) -> None:
        stage = self.schedule.at(current_iter)
        assert self.options.train is not None
        d_first = stage.trains_d and self.options.train.d_first
        for member in self.members:
            member.begin_iteration(current_iter)
        if d_first:
            self.train_discriminators(stage, [member.sample() for member in self.members], current_iter)
        for member in self.members:
            member.train_generator(current_iter)
        if stage.trains_d and not d_first:
            self.train_discriminators(stage, [member.output for member in self.members], current_iter)
        for member in self.members:
            member.end_iteration(current_iter)

    def train_discriminators(self, stage: Stage, outputs: list[torch.Tensor], current_iter: int) -> None:
        players = [member.ready_players()[0] for member in self.members]
        batches = [Batch(True, self.members[0].real, range(len(players))),
                   *(Batch(False, output, [number]) for number, output in enumerate(outputs))]
        gan_loss = self.members[0].terms['gan'].loss
        mutual = self.mutual if 'mutual' in stage.losses else None
        logs = backward(players, gan_loss, batches, mutual)
        for member, player, log in zip(self.members, players, logs, strict=True):
            member.step_discriminators([player], [log], current_iter)

    def get_current_log(self) -> dict[str, float]:
        """Every member's log, its name behind each key."""
        log: dict[str, float] = {}
        for member in self.members:
            own = member.get_current_log()
            stage = own.pop('stage')
            log.update({f'{key}{member.label}': value for key, value in own.items()}, stage=stage)
        log['stage'] = log.pop('stage')  # last
        return log

    def validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        current_iter = self.due(dataloader, current_iter)
        if current_iter is None:
            return
        for member in self.members:
            member.validation(dataloader, current_iter, tb_logger, save_img)
        if self.opt['rank'] == 0 and self.opt['val'].get('metrics'):
            found = self.best()
            best = ', '.join(f'{metric} {name} ({value:.4f})' for metric, (name, value) in found.items())
            get_root_logger().info(f"Best of the cohort on {dataloader.dataset.opt['name']}: {best}")

    def best(self) -> dict[str, tuple[str, float]]:
        """For each metric of the last validation, the best member and its value."""
        found = {}
        for metric, block in self.opt['val']['metrics'].items():
            choose = min if block.get('better') == 'lower' else max
            values = {member.label[1:]: member.metric_results[metric] for member in self.members}
            comparable = {name: value for name, value in values.items() if math.isfinite(value)} or values
            winner = choose(comparable, key=comparable.__getitem__)
            found[metric] = (winner, values[winner])
        return found

    def process_state(self) -> dict[str, Any]:
        return {**super().process_state(), 'members': [member.process_state() for member in self.members]}

    def load_process_state(self, state: Mapping[str, Any], same_data: bool) -> None:
        for member, own in zip(self.members, state['members'], strict=True):
            member.load_process_state(own, same_data)
        super().load_process_state(state, same_data)

    def load_common_state(self, state: Mapping[str, Any]) -> None:
        for member, own in zip(self.members, state['members'], strict=True):
            member.load_common_state(own)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        super().resume_training(resume_state)
        for member in self.members:
            member.stage_validation.resume(resume_state['iter'])

    @property
    def networks(self) -> dict[str, dict[str, nn.Module]]:
        return {label: nets for member in self.members for label, nets in member.networks.items()}

    @property
    def labels(self) -> list[str]:
        return [member.label for member in self.members]


def member_options(opt: Mapping[str, Any], member: MemberOptions) -> dict[str, Any]:
    """A member's own options: those of an independent run, without the exchange."""
    own = deepcopy(dict(opt))
    del own['cohort']
    path = own['path']
    own.update(model_type='SDAKDModel', manual_seed=member.manual_seed)
    own['network_g'] = deepcopy(member.network_g) or own['network_g']
    own['network_d'] = deepcopy(member.network_d) or own.get('network_d')
    if 'visualization' in path:
        path['visualization'] = os.path.join(path['visualization'], member.name)
    for label in ('g', 'd'):
        given = getattr(member, f'pretrain_network_{label}')
        if path.get('resume_state'):  # BasicSR names files without the member's name
            given = os.path.join(path['models'], f"net_{label}_{member.name}_{Path(path['resume_state']).stem}.pth")
        if given is not None:
            path[f'pretrain_network_{label}'] = given
    train = own.get('train')
    if train:
        train.pop('mutual_opt', None)
        for stage in train.get('stages') or ():
            stage['losses'] = [loss for loss in stage['losses'] if loss != 'mutual']
    return own
