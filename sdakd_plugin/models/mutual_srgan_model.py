"""A cohort of SRGANs in one run, whose discriminators teach each other (Lee and Park, 2022)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from sdakd_plugin.models.plugin_model import PluginModel
from sdakd_plugin.models.student import StudentRun
from sdakd_plugin.options import MemberOptions, parse


@MODEL_REGISTRY.register()
class MutualSRGANModel(PluginModel):
    """A cohort of K SRGANs, trained in one run of stock BasicSR.

    All members train on the same batches, each generator against its own discriminator. In stages that name
    ``mutual``, all discriminators score the same images (the ground truth and the output of every member) and learn
    from each other's scores. With ``mutual_opt.loss_weight: 0`` the members equal K independent runs, bit for bit.

    Each member is validated, and saved as ``net_g_NAME_*.pth`` and ``net_d_NAME_*.pth``. After each validation the best
    member is logged.
    """

    def student_runs(self) -> list[StudentRun]:
        runs = []
        for member in self.options.cohort or ():
            opt = member_options(self.opt, member)
            runs.append(StudentRun(member.name, opt, parse(opt), member.manual_seed))
        return runs

    def after_validation(self, dataset: str) -> None:
        found = ', '.join(f'{metric} {name} ({value:.4f})' for metric, (name, value) in self.best().items())
        get_root_logger().info(f'Best of the cohort on {dataset}: {found}')

    def best(self) -> dict[str, tuple[str, float]]:
        """The best member and its value, for each metric of the last validation."""
        found = {}
        for metric, block in self.opt['val']['metrics'].items():
            choose = min if block.get('better') == 'lower' else max
            values = {each.name: each.metric_results[metric] for each in self.stage_validation.validations}
            comparable = {name: value for name, value in values.items() if math.isfinite(value)} or values
            winner = choose(comparable, key=comparable.__getitem__)
            found[metric] = (winner, values[winner])
        return found


def member_options(opt: Mapping[str, Any], member: MemberOptions) -> dict[str, Any]:
    """The options of a member: those of an independent run, without the exchange."""
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
        if path.get('resume_state'):  # BasicSR's file name lacks the member's name
            given = os.path.join(path['models'], f'net_{label}_{member.name}_{Path(path["resume_state"]).stem}.pth')
        if given is not None:
            path[f'pretrain_network_{label}'] = given
    train = own.get('train')
    if train:
        train.pop('mutual_opt', None)
        for stage in train.get('stages') or ():
            stage['losses'] = [loss for loss in stage['losses'] if loss != 'mutual']
    return own
