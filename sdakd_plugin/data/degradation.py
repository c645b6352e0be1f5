"""Real-ESRGAN's on-the-fly degradation, kernels, sharpening and training-pair pool: BasicSR's own, on any device."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import DiffJPEG, USMSharp
from torch import Tensor

from sdakd_plugin.data.published import brings_kernels
from sdakd_plugin.data.sample_image_dataset import reduced_levels
from sdakd_plugin.errors import UserError
from sdakd_plugin.options import DEGRADATION_KEYS, Options


class ContiguousJPEG(DiffJPEG):
    """BasicSR's JPEG in the memory order that its own ``filter2D`` takes: on a CPU, padding keeps the order of the
    colours-last image that JPEG makes, and ``filter2D`` fails on it."""

    def forward(self, x: Tensor, quality: Any) -> Tensor:
        return super().forward(x, quality=quality).contiguous()


class OnlineDegradation(RealESRGANModel):
    """Calls ``RealESRGANModel.feed_data`` without being a model: it holds just the attributes which that reads.

    The stock class cannot be built without CUDA, because its constructor and its pool call ``.cuda()``. Here the
    helpers are made on ``device``, and so is the pool, before the stock code would make it.

    Args:
        opt: the option dictionary of the run, for the degradation's settings.
        options: the same, checked.
        device: where the images are degraded.

    After ``feed_data(data)`` the attributes ``lq``, ``gt`` and ``gt_usm`` hold the batch, (n, 3, h, w), range 0..1:
    synthesised from ``gt`` and kernels, or, for a batch that has an ``lq``, passed on. Where the batch has ``bicubic``,
    (n) truth values, LQ images of which it is true are only reduced, bicubically.
    """

    lq: Tensor
    gt: Tensor
    bicubic: Tensor | None = None

    def __init__(self, opt: Mapping[str, Any], options: Options, device: torch.device) -> None:
        self.device, self.is_train = device, True  # and no super().__init__(): there is no network here
        self.opt = {**opt, 'high_order_degradation': makes_lq(options)}
        self.jpeger = ContiguousJPEG(differentiable=False).to(device)
        self.usm_sharpener = USMSharp().to(device)
        self.queue_size = options.queue_size
        if self.opt['high_order_degradation']:
            check_settings(opt, options)
            assert options.gt_size is not None
            size, lq_size = options.gt_size, options.gt_size // options.scale
            self.queue_lr = torch.zeros(self.queue_size, 3, lq_size, lq_size, device=device)
            self.queue_gt = torch.zeros(self.queue_size, 3, size, size, device=device)
            self.queue_ptr = 0

    def feed_data(self, data: Mapping[str, Any]) -> None:
        self.bicubic = data.get('bicubic')
        super().feed_data(data)

    def _dequeue_and_enqueue(self) -> None:
        """Before the pair goes into the pool: all images are reduced, so that nothing waits for the device."""
        if self.bicubic is not None:
            reduced = reduced_levels((self.gt * 255).round(), self.opt['scale']) / 255
            self.lq = torch.where(self.bicubic.to(self.device)[:, None, None, None], reduced.to(self.lq), self.lq)
        super()._dequeue_and_enqueue()

    def state(self) -> dict[str, Any]:
        """The training-pair pool, for a training state."""
        if not self.opt['high_order_degradation']:
            return {}
        return {'lr': self.queue_lr.cpu(), 'gt': self.queue_gt.cpu(), 'pointer': self.queue_ptr}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put the pool back.

        Raises:
            UserError: it has another size, or images of another size.
        """
        if not state:
            return
        for key, pool in (('lr', self.queue_lr), ('gt', self.queue_gt)):
            if state[key].shape != pool.shape:
                saved, now = ('x'.join(map(str, shape)) for shape in (state[key].shape, pool.shape))
                raise UserError(f'queue_size, gt_size: the saved pool is {saved}, now it would be {now}; resume with '
                                'the values of the run')
            pool.copy_(state[key])
        batch = self.opt['datasets']['train']['batch_size_per_gpu']  # a pool is filled in whole batches
        self.queue_ptr = state['pointer'] // batch * batch


def makes_lq(options: Options) -> bool:
    """Whether LQ images are made on the fly: as the options say, or as the training data set needs it.

    Raises:
        UserError: the data set brings no blur kernels, or brings nothing else, against what the option says.
    """
    block = options.datasets.get('train', {})
    kind, kernels = block.get('type'), brings_kernels(block)
    if options.high_order_degradation is None:
        return kernels
    if options.high_order_degradation and not kernels:
        raise UserError(f'high_order_degradation: is true, but {kind} brings no blur kernels; use RealESRGANDataset, '
                        'or set it to false for paired data')
    if not options.high_order_degradation and kernels:
        raise UserError(f'high_order_degradation: is false, but {kind} brings no LQ images here; use '
                        'PairedImageDataset or RealESRGANPairedDataset, or set it to true')
    return options.high_order_degradation


def check_settings(opt: Mapping[str, Any], options: Options) -> None:
    """Raise a UserError where a setting of the degradation is missing, or the pool does not fit the batch."""
    for key in DEGRADATION_KEYS:
        if opt.get(key) is None:
            raise UserError(f'{key}: this key is missing; RealESRGANDataset needs the degradation settings of '
                            'options/sdakd_x4.yml')
    block = options.datasets['train']
    if block.get('type') == 'PhotoDataset' and block.get('gt_size') != options.gt_size:
        raise UserError(f"gt_size: {options.gt_size} is not datasets.train.gt_size, {block.get('gt_size')}; leave it "
                        'out at the top level')
    batch = block.get('batch_size_per_gpu', 1)
    if options.queue_size % batch:
        above = -(-options.queue_size // batch) * batch
        raise UserError(f'queue_size: {options.queue_size} is not a multiple of the batch size {batch}; use {above}')
    if options.gt_size is not None and options.gt_size % options.scale:
        raise UserError(f'gt_size: {options.gt_size} is not a multiple of the scale {options.scale}; use '
                        f'{options.gt_size // options.scale * options.scale}')
