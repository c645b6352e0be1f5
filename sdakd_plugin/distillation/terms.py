"""The terms of the generator's objective: losses together with what they compare.

A term is a block ``train.NAME_opt`` in the option file. Its name determines what it compares:

==============  ===============================================  =====================
name            compares                                         log key
==============  ===============================================  =====================
pixel           image with ground truth                          l_g_pix
perceptual      image with ground truth                          l_g_percep, l_g_style
ldl             image with ground truth, weighted by artefacts   l_g_ldl
gan             discriminator's score of the image               l_g_gan
teacher_pixel   image with the teacher's image                   l_g_teacher_pix
lpips           image with what the loss's ``target`` says       l_g_lpips
feature         features with the teacher's                      l_g_feature
any other X     image with what the loss's ``target`` says,      l_g_X
                else with the ground truth
==============  ===============================================  =====================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from basicsr.losses.loss_util import get_refined_artifact_map
from torch import Tensor, nn

from sdakd_plugin.distillation.teacher import TeacherOutput
from sdakd_plugin.errors import UserError

TARGETS = ('gt', 'teacher', 'both')
LOG_NAMES = {'pixel': 'l_g_pix', 'perceptual': 'l_g_percep', 'teacher_pixel': 'l_g_teacher_pix'}
USM_KEYS = {'pixel': 'l1_gt_usm', 'perceptual': 'percep_gt_usm'}


@dataclass
class GeneratorStep:
    """What the terms of one iteration share; the expensive parts are computed once, on first use.

    Attributes:
        lq, gt, sr: input, ground truth and student's image, (n, c, h, w), range 0..1.
        gt_usm: the sharpened ground truth, if an option asks for it.
        features: the features of the student, by layer name.
        run_teacher, run_ema, run_d: run the teacher, the moving average of the student and the discriminator.
    """

    lq: Tensor
    gt: Tensor
    sr: Tensor
    gt_usm: Tensor | None
    features: dict[str, Tensor]
    run_teacher: Callable[[], TeacherOutput]
    run_ema: Callable[[], Tensor]
    run_d: Callable[[Tensor], Tensor]

    @cached_property
    def teacher(self) -> TeacherOutput:
        return self.run_teacher()


class Term(ABC):
    """Base class of terms: a named loss with what it needs from the networks."""

    needs_teacher_image = False
    uses_image = True  # whether its gradient flows through the student's image
    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __init__(self, name: str, loss: nn.Module) -> None:
        self.name, self.loss = name, loss

    @property
    def needs_teacher(self) -> bool:
        return self.needs_teacher_image or bool(self.teacher_layers)

    @property
    def log_name(self) -> str:
        return LOG_NAMES.get(self.name, f'l_g_{self.name}')

    @abstractmethod
    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        """The weighted loss, by log key."""


class ImageTerm(Term):
    """Compares the student's image with the ground truth, the teacher's image or both."""

    def __init__(self, name: str, loss: nn.Module, usm: bool = False) -> None:
        super().__init__(name, loss)
        target = getattr(loss, 'target', 'teacher' if name == 'teacher_pixel' else 'gt')
        if target not in TARGETS:
            raise UserError(f"train.{name}_opt.target: '{target}' is not one of {', '.join(TARGETS)}")
        self.target, self.usm = target, usm
        self.needs_teacher_image = target != 'gt'

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        references = []
        if self.target != 'gt':
            references.append(step.teacher.sr)
        if self.target != 'teacher':
            references.append(step.gt_usm if self.usm else step.gt)
        values: dict[str, Tensor] = {}
        for reference in references:
            value = self.loss(step.sr, reference)
            # BasicSR's PerceptualLoss returns (perceptual, style), each of which may be None
            named = (
                dict(zip((self.log_name, 'l_g_style'), value, strict=True))
                if isinstance(value, tuple)
                else {self.log_name: value}
            )
            for key, part in named.items():
                if part is not None:
                    values[key] = values[key] + part if key in values else part
        return values


class ArtifactTerm(Term):
    """LDL: the pixel loss weighted by artefacts that the moving average does not have (Liang et al., CVPR 2022)."""

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        weight = get_refined_artifact_map(step.gt, step.sr, step.run_ema(), 7)
        return {self.log_name: self.loss(torch.mul(weight, step.sr), torch.mul(weight, step.gt))}


class AdversarialTerm(Term):
    """The GAN loss of the student's image."""

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        return {self.log_name: self.loss(step.run_d(step.sr), True, is_disc=False)}


class FeatureTerm(Term):
    """Compares the student's features with the teacher's."""

    uses_image = False

    def __init__(self, name: str, loss: nn.Module, layers: Mapping[str, str]) -> None:
        super().__init__(name, loss)
        self.student_layers, self.teacher_layers = tuple(layers), tuple(layers.values())

    @property
    def needs_teacher(self) -> bool:
        return True  # also without layer names: a number of depths needs the teacher's blocks

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        return {self.log_name: self.loss(step.features, step.teacher.features)}


def make_term(name: str, loss: nn.Module, usm: Mapping[str, bool]) -> Term:
    """The term for a loss block.

    Args:
        name: the block's name without ``_opt``.
        loss: the loss that the block builds.
        usm: the values of Real-ESRGAN's options ``*_gt_usm``: whether the ground truth is sharpened.
    """
    if name == 'gan':
        return AdversarialTerm(name, loss)
    if name == 'ldl':
        return ArtifactTerm(name, loss)
    if name == 'feature':
        layers = getattr(loss, 'layers', None)
        if not isinstance(layers, Mapping):
            raise UserError(f'train.feature_opt.type: {type(loss).__name__} names no layers; use FeatureAlignmentLoss')
        return FeatureTerm(name, loss, layers)
    return ImageTerm(name, loss, usm.get(USM_KEYS.get(name, ''), False))


@dataclass(frozen=True)
class Needs:
    """A set of terms with what they need from the networks."""

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    teacher_image: bool = False
    terms: tuple[Term, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, terms: Iterable[Term]) -> Needs:
        terms = tuple(terms)
        return cls(
            student_layers=tuple(layer for term in terms for layer in term.student_layers),
            teacher_layers=tuple(layer for term in terms for layer in term.teacher_layers),
            teacher_image=any(term.needs_teacher_image for term in terms),
            terms=terms,
        )
