"""The degradation of BasicSR's ``RealESRGANModel`` without that model: of a batch, or of one photograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import DiffJPEG, USMSharp, img2tensor, tensor2img
from basicsr.utils.img_process_util import usm_sharp
from torch import Tensor

from sdakd_plugin.errors import UserError

LEAST = 400  # pixels of GT: Real-ESRGAN extends smaller ones; its blur cannot work on images that are smaller than it


class ContiguousJPEG(DiffJPEG):
    """BasicSR's JPEG in the memory order that its own ``filter2D`` takes: on a CPU, padding keeps the order of the
    colours-last image that JPEG makes, and ``filter2D`` fails on it."""

    def forward(self, x: Tensor, quality: Any) -> Tensor:
        return super().forward(x, quality=quality).contiguous()


class BatchDegradation(RealESRGANModel):
    """Calls ``RealESRGANModel.feed_data`` without being a model: it holds only the attributes which that reads.

    The stock class cannot be built without CUDA, because its constructor and its training-pair pool call ``.cuda()``.
    Here the helpers are made on ``device``, and so is the pool, before the stock code would make it.

    Args:
        opt: the option dictionary of the run, for the degradation's settings.
        pool: (images, GT's side, LQ's side) of the training-pair pool; ``None``: batches bring their LQ images.
        device: where the images are degraded.
        reduce: reduces images (n, 3, H, W), range 0..255 and whole, by a scale.

    After ``feed_data(data)`` the attributes ``lq``, ``gt`` and ``gt_usm`` hold the batch, (n, 3, h, w), range 0..1:
    synthesised from ``gt`` and kernels, or, for a batch that has an ``lq``, passed on. Where the batch has ``bicubic``,
    (n) truth values, LQ images of which it is true are only reduced, by ``reduce``.
    """

    lq: Tensor
    gt: Tensor
    bicubic: Tensor | None = None

    def __init__(
        self,
        opt: Mapping[str, Any],
        pool: tuple[int, int, int] | None,
        device: torch.device,
        reduce: Callable[[Tensor, int], Tensor],
    ) -> None:
        # no super().__init__(): there is no network here
        self.device, self.is_train, self.reduce = device, True, reduce
        self.opt = {**opt, 'high_order_degradation': pool is not None}
        self.jpeger = ContiguousJPEG(differentiable=False).to(device)
        self.usm_sharpener = USMSharp().to(device)
        if pool is not None:
            self.queue_size, size, lq_size = pool
            self.queue_lr = torch.zeros(self.queue_size, 3, lq_size, lq_size, device=device)
            self.queue_gt = torch.zeros(self.queue_size, 3, size, size, device=device)
            self.queue_ptr = 0

    def feed_data(self, data: Mapping[str, Any]) -> None:
        self.bicubic = data.get('bicubic')
        super().feed_data(data)

    def _dequeue_and_enqueue(self) -> None:
        """Before the pair goes into the pool: all images are reduced, so that nothing waits for the device."""
        if self.bicubic is not None:
            reduced = self.reduce((self.gt * 255).round(), self.opt['scale']) / 255
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
                raise UserError(
                    f'queue_size, gt_size: the saved pool is {saved}, now it would be {now}; resume with '
                    'the values of the run'
                )
            pool.copy_(state[key])
        batch = self.opt['datasets']['train']['batch_size_per_gpu']  # a pool is filled in whole batches
        self.queue_ptr = state['pointer'] // batch * batch


class PhotoDegradation(RealESRGANModel):
    """Calls ``RealESRGANModel.feed_data`` for one photograph, on the CPU, without being a model.

    Args:
        opt: the degradation's settings, and ``scale``.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        # no super().__init__(): there is no network here
        self.opt, self.device, self.is_train = dict(opt), torch.device('cpu'), True
        self.jpeger = ContiguousJPEG(differentiable=False)

    def degrade(self, gt: np.ndarray, kernels: Mapping[str, Tensor]) -> np.ndarray:
        """Degrade a photograph (h, w, 3), uint8, BGR, with blur kernels (1, k, k), to (h / scale, w / scale, 3)."""
        height, width = gt.shape[:2]
        scale = self.opt['scale']
        side = -(-max(height, width, LEAST) // scale) * scale  # a square, since that is what BasicSR crops
        square = cv2.copyMakeBorder(gt, 0, side - height, 0, side - width, cv2.BORDER_REFLECT_101)
        self.opt['gt_size'] = side
        self.feed_data({'gt': img2tensor(square / np.float32(255))[None], **kernels})
        return tensor2img(self.lq)[: height // scale, : width // scale]

    def usm_sharpener(self, image: Tensor) -> Tensor:
        """BasicSR's own for NumPy, whose blur is separable: 50 times faster than its module on a CPU."""
        return img2tensor(usm_sharp(image[0].permute(1, 2, 0).numpy()), bgr2rgb=False)[None]

    def _dequeue_and_enqueue(self) -> None:
        """There is no pool."""
