"""Builds, loads and distributes the networks of a run, in BasicSR's order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from sdakd_plugin import weights
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.families.calling import unwrap
from sdakd_plugin.networks import fake_quantization
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.options import Options
from sdakd_plugin.slimming.slim import weights_from_teacher

FUSED = ('Adam', 'AdamW')  # torch's fused SGD fails if a connector's momentum starts later than the network's


class Networks:
    """Builds the networks and optimizers of one student.

    Args:
        opt: its options, as BasicSR's dictionary.
        options: the same options, checked.
        device: the device of the networks.
        forward_pass: runs the networks.
        wrap: moves a network to the device and, in distributed training, wraps it.
    """

    def __init__(
        self,
        opt: Mapping[str, Any],
        options: Options,
        device: torch.device,
        forward_pass: ForwardPass,
        wrap: Callable[[nn.Module], nn.Module],
    ) -> None:
        self.opt, self.options, self.device, self.forward_pass = opt, options, device, forward_pass
        self._wrap = wrap

    def distributed(self, net: nn.Module) -> nn.Module:
        """Move a network to the device, in its memory format; in distributed training, wrap it."""
        return self._wrap(self.forward_pass.prepare(net))

    def generator(self) -> nn.Module:
        """Build and load the student."""
        net = build_network(self.opt['network_g'], 'network_g')
        log_size(net)
        net = self.distributed(self._for_quantization(net))
        self.load(net, 'g', 'params')
        return net

    def average(self, net_g: nn.Module) -> nn.Module:
        """Build and load the moving average of the student; draws as many random numbers as BasicSR does."""
        net = self._for_quantization(build_network(self.opt['network_g'], 'network_g'))
        net = self.forward_pass.prepare(net.to(self.device))
        net.load_state_dict(unwrap(net_g).state_dict())
        self.load(net, 'g', 'params_ema')
        return net.eval()

    def _for_quantization(self, net: nn.Module) -> nn.Module:
        """The generator, ready for fake quantisation if a stage asks for it."""
        train = self.options.train
        if train is not None and train.quantize is not None:
            fake_quantization.insert(net, train.quantize.bits, 'train.quantize')
        return net

    def discriminator(self, label: str, needed: bool) -> nn.Module | None:
        """Build and load the discriminator ``network_<label>``; returns ``None`` if no stage trains it.

        Raises:
            UserError: its options are missing.
        """
        key = f'network_{label}'
        if not needed:
            if self.opt.get(key) is not None:
                get_root_logger().warning(f'{key}: no stage trains it, so it is not built.')
            return None
        for name, holder in ((key, self.opt), ('optim_d', self.opt['train']), ('gan_opt', self.opt['train'])):
            if holder.get(name) is None:
                raise UserError(
                    f'{"" if holder is self.opt else "train."}{name}: this key is missing; a stage trains '
                    'the discriminator'
                )
        net = self.distributed(build_network(self.opt[key], key))
        log_size(net)
        self.load(net, label, 'params')
        return net.train()

    def load(self, net: nn.Module, label: str, param_key: str) -> None:
        """Load ``path.pretrain_network_<label>``, if it is set.

        It is a weight file in any common format, a known name or, for the generator, ``teacher``, which cuts the
        weights out of those of the teacher.
        """
        path_opt = self.opt['path']
        source = path_opt.get(f'pretrain_network_{label}')
        if source is None:
            return
        role = f'path.pretrain_network_{label}'
        bare = unwrap(net)
        if label == 'g' and source == 'teacher':
            state = weights_from_teacher(bare, self.opt['network_g'], self.options.first_teacher, role)
            weights.load_into(bare, state, 'the teacher', role)
            get_root_logger().info(f'{role}: the student starts from its teacher')
            return
        resumes = path_opt.get('resume_state') and os.path.dirname(source) == path_opt.get('models')
        if param_key == 'params' and not resumes:  # the key of the initial weights; a checkpoint has ``params``
            param_key = path_opt.get(f'param_key_{label}', param_key)
        path, state = weights.load(source, role, param_key)
        weights.load_into(bare, state, path, role, path_opt.get(f'strict_load_{label}', True))
        get_root_logger().info(f'Loaded {role}: {path}')

    def optimizer(self, key: str, modules: Sequence[nn.Module]) -> torch.optim.Optimizer:
        """Build the optimizer ``train.<key>``, of any type in ``torch.optim``, for the trainable parameters of modules.

        Raises:
            UserError: torch has no such optimizer, or the optimizer rejects its options.
        """
        parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
        block = dict(self.opt['train'][key])
        kind = block.pop('type', None)
        known = [name for name in dir(torch.optim) if isinstance(getattr(torch.optim, name), type)]
        if kind not in known:
            raise UserError(f"train.{key}.type: there is no optimizer '{kind}'" + nearest(kind, known))
        if 'betas' in signature(getattr(torch.optim, kind)).parameters:
            block = {**self._regularised_betas(key), **block}
        if self.device.type == 'cuda' and kind in FUSED and not {'fused', 'foreach'} & set(block):
            block['fused'] = True  # can skip a step on the device: distillation/updates.py
        try:
            optimizer: torch.optim.Optimizer = getattr(torch.optim, kind)(parameters, **block)
        except (TypeError, ValueError) as error:
            raise UserError(f'train.{key}: {error}') from error
        return optimizer

    def _regularised_betas(self, key: str) -> dict[str, Any]:
        """Adam's betas for a network with lazy regularisation (StyleGAN2, appendix B)."""
        train = self.options.train
        assert train is not None
        every = train.net_g_reg_every if key == 'optim_g' else train.net_d_reg_every
        return {} if every is None else {'betas': (0.0, 0.99 ** (every / (every + 1)))}


def log_size(net: nn.Module) -> None:
    """Log one line about a network, instead of BasicSR's hundreds of lines about its layers."""
    bare = unwrap(net)
    parameters = sum(parameter.numel() for parameter in bare.parameters())
    get_root_logger().info(f'Network: {type(bare).__name__}, with parameters: {parameters:,d}')
