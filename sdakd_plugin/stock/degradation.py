"""The degradation of BasicSR's ``RealESRGANModel``, without building that model."""

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

LEAST = 400  # pixels of GT: Real-ESRGAN pads smaller images, since its blur fails on images smaller than the kernel


class ContiguousJPEG(DiffJPEG):
    """BasicSR's differentiable JPEG with a contiguous result.

    The result of ``DiffJPEG`` is channels-last. On a CPU, padding keeps that format, and BasicSR's ``filter2D`` fails
    on it.
    """

    def forward(self, x: Tensor, quality: Any) -> Tensor:
        return super().forward(x, quality=quality).contiguous()


class BatchDegradation(RealESRGANModel):
    """Degrades a batch with ``RealESRGANModel.feed_data``; has only the attributes that this method reads.

    The stock class cannot be built without CUDA, because its constructor and its training-pair pool call ``.cuda()``.
    Here the helpers and the pool are created on ``device``, before the stock code would create them.

    After ``feed_data(data)`` the attributes ``lq``, ``gt`` and ``gt_usm`` hold the batch, (n, 3, h, w), range 0..1:
    synthesised from ``gt`` and kernels or, if the batch has ``lq``, passed on. If the batch has ``bicubic``, a boolean
    tensor (n,), the LQ images for which it is true are made by ``reduce`` instead.

    Args:
        opt: the option dictionary of the run, with the settings of the degradation.
        pool: (number of images, side of GT, side of LQ) of the training-pair pool; ``None`` if batches have LQ images.
        device: the device that degrades the images.
        reduce: downsamples images (n, 3, H, W), integers in 0..255, by a scale.
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
        # no super().__init__(): it would build a network
        self.device, self.is_train, self.reduce = device, True, reduce
        self.opt = {**opt, 'high_order_degradation': pool is not None}
        # on a GPU stock's, whose format is that of what follows, which therefore computes and rounds as stock does
        jpeg = DiffJPEG if device.type == 'cuda' else ContiguousJPEG
        self.jpeger = jpeg(differentiable=False).to(device)
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
        """Insert the bicubic LQ images before the pool; all are computed, so that nothing waits for the device."""
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
        """Restore the pool.

        Raises:
            UserError: the size of the pool or of its images has changed.
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
        batch = self.opt['datasets']['train']['batch_size_per_gpu']  # the pool is filled in whole batches
        self.queue_ptr = state['pointer'] // batch * batch


class PhotoDegradation(RealESRGANModel):
    """Degrades one photograph with ``RealESRGANModel.feed_data``, on the CPU.

    Args:
        opt: the settings of the degradation, and ``scale``.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        # no super().__init__(): it would build a network
        self.opt, self.device, self.is_train = dict(opt), torch.device('cpu'), True
        self.jpeger = ContiguousJPEG(differentiable=False)

    def degrade(self, gt: np.ndarray, kernels: Mapping[str, Tensor]) -> np.ndarray:
        """Degrade a photograph (h, w, 3), uint8, BGR, with blur kernels (1, k, k), to (h / scale, w / scale, 3)."""
        height, width = gt.shape[:2]
        scale = self.opt['scale']
        side = -(-max(height, width, LEAST) // scale) * scale  # a square, as BasicSR crops squares
        square = cv2.copyMakeBorder(gt, 0, side - height, 0, side - width, cv2.BORDER_REFLECT_101)
        self.opt['gt_size'] = side
        self.feed_data({'gt': img2tensor(square / np.float32(255))[None], **kernels})
        return tensor2img(self.lq)[: height // scale, : width // scale]

    def usm_sharpener(self, image: Tensor) -> Tensor:
        """BasicSR's NumPy version, whose blur is separable: 50 times faster than its module on a CPU."""
        return img2tensor(usm_sharp(image[0].permute(1, 2, 0).numpy()), bgr2rgb=False)[None]

    def _dequeue_and_enqueue(self) -> None:
        """Does nothing: there is no pool."""
