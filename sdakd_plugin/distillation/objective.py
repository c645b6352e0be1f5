"""The objective of a student and its discriminators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from sdakd_plugin.distillation.batch import TeacherPass, TrainingBatch
from sdakd_plugin.distillation.discriminator_terms import FeatureDTerm
from sdakd_plugin.distillation.stages import Stage
from sdakd_plugin.distillation.terms import Needs, Term


@dataclass(frozen=True)
class Objective:
    """The losses by the names that stages use.

    Attributes:
        terms: the terms of the generator.
        d_terms: the terms of the discriminators, apart from the GAN loss.
        gan_loss: the GAN loss, called with ``(scores, is_real, is_disc=True)``; ``None`` without a discriminator.
    """

    terms: Mapping[str, Term]
    d_terms: Mapping[str, FeatureDTerm]
    gan_loss: nn.Module | None
    _needs: dict[str, Needs] = field(default_factory=dict, init=False, repr=False)

    def needs(self, stage: Stage) -> Needs:
        """The generator terms of a stage, and what they need from the networks."""
        if stage.name not in self._needs:
            terms = [self.terms[loss] for loss in stage.losses if loss in self.terms]
            real = [self.terms['gan']] if stage.trains_d else []  # the discriminators' real images
            self._needs[stage.name] = Needs.of(terms, [term for term in real if term not in terms])
        return self._needs[stage.name]

    def real_images(self, batch: TrainingBatch, teacher: TeacherPass, stage: Stage) -> Tensor:
        """The real images (n, c, H, W) of the discriminators: the ground truth, or the teacher's images."""
        gan = self.terms['gan']
        real = teacher(gan.teacher, self.needs(stage)).sr if gan.needs_teacher else batch.real
        assert real is not None
        return real

    def discriminator_terms(self, stage: Stage) -> list[FeatureDTerm]:
        """The discriminator terms of a stage."""
        return [self.d_terms[loss] for loss in stage.losses if loss in self.d_terms]

    def connectors(self) -> dict[str, nn.Module]:
        """The losses with trainable parameters, by name."""
        holders: dict[str, Term | FeatureDTerm] = {**self.terms, **self.d_terms}
        return {
            name: holder.loss
            for name, holder in holders.items()
            if any(parameter.requires_grad for parameter in holder.loss.parameters())
        }

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Wrap the losses with trainable parameters, so that processes share their gradients."""
        for name in self.connectors():
            holder: Term | FeatureDTerm = self.terms.get(name) or self.d_terms[name]
            holder.loss = wrap(holder.loss)
