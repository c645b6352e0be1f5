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
lpips           image with the teacher's image                   l_g_lpips
feature         features with the teacher's                      l_g_feature
any other X     image with the ground truth                      l_g_X
==============  ===============================================  =====================

The option ``target`` of a block replaces what its image is compared with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from basicsr.losses.loss_util import get_refined_artifact_map
from torch import Tensor, nn

from sdakd_plugin.distillation.teacher import TeacherOutput
from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.options import TermOptions

TARGETS = ('gt', 'teacher', 'both', 'mix')
REAL = ('gt', 'teacher')  # what a discriminator may see as real images
LOG_NAMES = {'pixel': 'l_g_pix', 'perceptual': 'l_g_percep', 'teacher_pixel': 'l_g_teacher_pix'}
USM_KEYS = {'pixel': 'l1_gt_usm', 'perceptual': 'percep_gt_usm'}


@dataclass
class GeneratorStep:
    """What the terms of one iteration share; the expensive parts are computed once, on first use.

    Attributes:
        lq, sr: input and student's image, (n, c, h, w), range 0..1.
        gt: the ground truth; ``None`` if there is none, and no term needs it.
        gt_usm: the sharpened ground truth, if an option asks for it.
        features: the features of the student, by layer name.
        ramps: the values of the ramps in this iteration, by the name of their term.
        run_teacher: runs the teacher of a key, such as ``teachers.NAME``, once.
        run_ema, run_d: run the moving average of the student and the discriminator.
    """

    lq: Tensor
    gt: Tensor | None
    sr: Tensor
    gt_usm: Tensor | None
    features: dict[str, Tensor]
    ramps: Mapping[str, float]
    run_teacher: Callable[[str], TeacherOutput]
    run_ema: Callable[[], Tensor]
    run_d: Callable[[Tensor], Tensor]


class Term(ABC):
    """Base class of terms: a named loss with what it needs from the networks."""

    needs_teacher_image = False
    needs_gt = False
    scaled_by_ramp = True  # whether its ramp, if it has one, is a factor of the loss
    uses_image = True  # whether its gradient flows through the student's image
    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __init__(self, name: str, loss: nn.Module, teacher: str | None = None) -> None:
        self.name, self.loss = name, loss
        self.teacher = teacher or ''  # the key of the teacher, if the term needs one

    @property
    def needs_teacher(self) -> bool:
        return self.needs_teacher_image or bool(self.teacher_layers)

    @property
    def log_name(self) -> str:
        return LOG_NAMES.get(self.name, f'l_g_{self.name}')

    @abstractmethod
    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        """The weighted loss, by log key, without its ramp."""

    def ramped(self, step: GeneratorStep) -> dict[str, Tensor]:
        """The weighted loss, by log key, multiplied by its ramp."""
        values = self(step)
        if self.name not in step.ramps or not self.scaled_by_ramp:
            return values
        return {key: value * step.ramps[self.name] for key, value in values.items()}


class ImageTerm(Term):
    """Compares the student's image with the ground truth, the teacher's image, both, or a mix of them."""

    def __init__(
        self, name: str, loss: nn.Module, target: str | None = None, teacher: str | None = None, usm: bool = False
    ) -> None:
        super().__init__(name, loss, teacher)
        target = str(target or getattr(loss, 'target', 'teacher' if name == 'teacher_pixel' else 'gt'))
        _check_target(name, target, TARGETS)
        self.target, self.usm = target, usm
        self.needs_teacher_image, self.needs_gt = target != 'gt', target != 'teacher'
        self.scaled_by_ramp = target != 'mix'

    def references(self, step: GeneratorStep) -> list[Tensor]:
        """The images to compare with, (n, c, H, W); the loss is the sum over them."""
        images: list[Tensor | None] = []
        if self.needs_teacher_image:
            images.append(step.run_teacher(self.teacher).sr)
        if self.needs_gt:
            images.append(step.gt_usm if self.usm else step.gt)
        found = [image for image in images if image is not None]
        if self.target == 'mix':
            return [torch.lerp(found[1], found[0], step.ramps[self.name])]
        return found

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for reference in self.references(step):
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

    needs_gt = True

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        assert step.gt is not None
        weight = get_refined_artifact_map(step.gt, step.sr, step.run_ema(), 7)
        return {self.log_name: self.loss(torch.mul(weight, step.sr), torch.mul(weight, step.gt))}


class AdversarialTerm(Term):
    """The GAN loss of the student's image. Its discriminator's real images are the ground truth or the teacher's."""

    def __init__(self, name: str, loss: nn.Module, target: str | None = None, teacher: str | None = None) -> None:
        super().__init__(name, loss, teacher)
        target = target or 'gt'
        _check_target(name, target, REAL)
        self.needs_teacher_image, self.needs_gt = target == 'teacher', target == 'gt'

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        return {self.log_name: self.loss(step.run_d(step.sr), True, is_disc=False)}


class FeatureTerm(Term):
    """Compares the student's features with the teacher's."""

    uses_image = False

    def __init__(self, name: str, loss: nn.Module, layers: Mapping[str, str], teacher: str | None = None) -> None:
        super().__init__(name, loss, teacher)
        self.student_layers, self.teacher_layers = tuple(layers), tuple(layers.values())

    @property
    def needs_teacher(self) -> bool:
        return True  # also without layer names: a number of depths needs the teacher's blocks

    def __call__(self, step: GeneratorStep) -> dict[str, Tensor]:
        return {self.log_name: self.loss(step.features, step.run_teacher(self.teacher).features)}


def _check_target(name: str, target: str, valid: tuple[str, ...]) -> None:
    if target not in valid:
        raise UserError(f"train.{name}_opt.target: there is no '{target}' for {name}{nearest(target, valid)}")


def make_term(
    name: str, loss: nn.Module, usm: Mapping[str, bool], options: TermOptions, teacher: str | None = None
) -> Term:
    """The term for a loss block.

    Args:
        name: the block's name without ``_opt``.
        loss: the loss that the block builds.
        usm: the values of Real-ESRGAN's options ``*_gt_usm``: whether the ground truth is sharpened.
        options: the part of the block that is not of the loss.
        teacher: the key of its teacher, if it needs one.

    Raises:
        UserError: the term has no such target, or is not what the loss can compare.
    """
    # a loss with a target of its own has it as an attribute, and only ``mix`` is not one of its values
    target = options.target if not hasattr(loss, 'target') or options.target == 'mix' else None
    if name == 'gan':
        return AdversarialTerm(name, loss, target, teacher)
    if name == 'ldl':
        return ArtifactTerm(name, loss)
    if name == 'feature':
        layers = getattr(loss, 'layers', None)
        if not isinstance(layers, Mapping):
            raise UserError(f'train.feature_opt.type: {type(loss).__name__} names no layers; use FeatureAlignmentLoss')
        return FeatureTerm(name, loss, layers, teacher)
    return ImageTerm(name, loss, target, teacher, usm.get(USM_KEYS.get(name, ''), False))


class FromTeacher(NamedTuple):
    """What one teacher provides. Attributes: layers of its features; image (whether its image is needed)."""

    layers: tuple[str, ...]
    image: bool


@dataclass(frozen=True)
class Needs:
    """A set of terms with what they need from the networks.

    Attributes:
        student_layers: the layers of the student whose features are needed.
        teachers: what each teacher provides, by its key.
        terms: the terms.
    """

    student_layers: tuple[str, ...] = ()
    teachers: Mapping[str, FromTeacher] = field(default_factory=dict)
    terms: tuple[Term, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, terms: Iterable[Term], besides: Iterable[Term] = ()) -> Needs:
        """The needs of terms; ``besides`` are terms whose teachers are needed although they are not in the sum."""
        terms = tuple(terms)
        taught = [term for term in (*terms, *besides) if term.needs_teacher]
        return cls(
            student_layers=tuple(layer for term in terms for layer in term.student_layers),
            teachers={
                key: FromTeacher(
                    tuple(layer for term in taught if term.teacher == key for layer in term.teacher_layers),
                    any(term.needs_teacher_image for term in taught if term.teacher == key),
                )
                for key in {term.teacher: None for term in taught}
            },
            terms=terms,
        )
