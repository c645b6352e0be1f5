"""BasicSR's validation of one student, separate from the model that trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from torch import Tensor


class StudentValidation(SRModel):
    """Validates with ``SRModel.nondist_validation``; has only the attributes that this method reads.

    It has images of its own, so that those of training are not overwritten. After a validation ``metric_results`` holds
    the metrics, ``best_metric_results`` the best ones of each data set, and ``last_and_best`` both in a few words.

    Args:
        opt: the options of the student.
        device: the device of the student.
        name: name of the student in the log and in TensorBoard; empty for the only one of a run.
        super_resolve: called with ``lq``, (n, c, h, w), range 0..1, and ``lq_scale``, (n,) or ``None``; returns the
            image (n, c, H, W).
    """

    def __init__(
        self,
        opt: Mapping[str, Any],
        device: torch.device,
        name: str,
        super_resolve: Callable[[Tensor, Tensor | None], Tensor],
    ) -> None:
        # no super().__init__(): it would build another network
        self.opt, self.device, self.name, self.super_resolve = opt, device, name, super_resolve
        self.last_and_best = ''

    def feed_data(self, data: Mapping[str, Any]) -> None:
        super().feed_data(data)
        self.lq_scale = data.get('lq_scale')

    def nondist_validation(self, *arguments: Any) -> None:
        try:
            super().nondist_validation(*arguments)
        finally:  # those of an image that was too large for the GPU's memory
            for name in ('lq', 'gt', 'output'):
                self.__dict__.pop(name, None)

    def test(self) -> None:
        self.output = self.super_resolve(self.lq, self.lq_scale)

    def set_best(self, dataset: str, metrics: Mapping[str, float | None], iteration: int) -> None:
        """Update the best results with those of an earlier validation."""
        self._initialize_best_metric_results(dataset)
        for metric, value in metrics.items():
            if value is not None and metric in self.best_metric_results[dataset]:
                self._update_best_metric_result(dataset, metric, value, iteration)

    def _log_validation_metric_values(self, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        if self.name:
            named = f'{dataset_name}/{self.name}'
            self.best_metric_results[named] = self.best_metric_results[dataset_name]
            dataset_name = named
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        best = self.best_metric_results[dataset_name]
        self.last_and_best = ', '.join(
            f'{metric} {value:.4g} (best {best[metric]["val"]:.4g} @ {best[metric]["iter"]})'
            for metric, value in self.metric_results.items()
        )
