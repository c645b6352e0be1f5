"""One forward pass of every network before training, so that mismatches fail now instead of in a later stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sdakd_plugin.distillation.discriminator_terms import FeatureDTerm
from sdakd_plugin.distillation.taps import NoMapError, TapError, Taps, check_layers, next_with_map
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.distillation.terms import Term
from sdakd_plugin.errors import UserError
from sdakd_plugin.families.calling import score, super_resolve
from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss
from sdakd_plugin.options import Options

Call = Callable[[nn.Module, Tensor], Tensor]


@torch.no_grad()
def rehearse(
    options: Options,
    device: torch.device,
    net_g: nn.Module,
    net_d: nn.Module | None,
    teachers: Mapping[str, Teacher],
    terms: Mapping[str, Term],
    d_terms: Mapping[str, FeatureDTerm],
) -> None:
    """Run student, teacher and discriminators once on a blank crop of the training size, and create the connectors.

    Raises:
        UserError: scales differ, a layer does not exist or does not fit, or a discriminator rejects the crop.
    """
    lq = blank_images(options, device, reduced=True)
    layers = [layer for term in terms.values() for layer in term.student_layers]
    sr, features = run_once(super_resolve, net_g, lq, layers, 'network_g', 'train.feature_opt.layers')
    expected = lq.shape[-1] * options.scale
    if sr.shape[-1] != expected:
        raise UserError(
            f'scale: is {options.scale}, but network_g turns {lq.shape[-1]} pixels into {sr.shape[-1]}; '
            'give both the same scale'
        )
    for key, teacher in teachers.items():
        # a network that is told by its file has no block
        told = 'network_g' if options.all_teachers[key].network_g is not None else 'pretrain_network_g'
        taught = {name: term for name, term in terms.items() if term.teacher == key}
        layers = [layer for term in taught.values() for layer in term.teacher_layers]
        image, teacher_features = run_once(
            super_resolve, teacher.net_g, lq, layers, f'{key}.{told}', 'train.feature_opt.layers'
        )
        _check_sizes(f'{key}.{told}', lq, image, sr)
        for name, term in taught.items():
            _connect(term.loss, features, teacher_features, name)
    if net_d is not None:
        layers = [layer for term in d_terms.values() for layer in term.student_layers]
        _, features = run_once(score, net_d, sr, layers, 'network_d', 'train.feature_d_opt.layers')
        for name, d_term in d_terms.items():
            assert d_term.teacher.net_d is not None
            _, teacher_features = run_once(
                score,
                d_term.teacher.net_d,
                sr,
                d_term.teacher_layers,
                'teacher.network_d',
                'train.feature_d_opt.layers',
            )
            _connect(d_term.loss, features, teacher_features, name)


def blank_images(options: Options, device: torch.device, reduced: bool = False) -> Tensor:
    """A blank GT crop (1, c, H, W) of the training size or, with ``reduced``, a blank LQ crop (1, c, h, w)."""
    size = (
        options.gt_size
        or options.datasets.get('train', {}).get('gt_size')
        or options.network_g.get('out_size')
        or 32 * options.scale
    )
    channels = options.network_g.get('num_in_ch' if reduced else 'num_out_ch', 3)
    side = size // options.scale if reduced else size
    return torch.zeros(1, channels, side, side, device=device)


@torch.no_grad()
def run_once(
    call: Call, net: nn.Module, images: Tensor, layers: Iterable[str], key: str, layers_key: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a network in evaluation mode and return its output and features.

    Args:
        call: ``super_resolve`` or ``score``.
        net: the network, not wrapped.
        images: its input.
        layers: names of the features.
        key: key of the network in the option file, for messages.
        layers_key: key of the layers in the option file, for messages.

    Raises:
        UserError: a layer does not exist, or the network rejects the input.
    """
    check_layers(net, layers, layers_key)
    try:
        with _evaluating(net), Taps(net, layers, images=images) as taps:
            out = call(net, images)
    except NoMapError as error:
        other = next_with_map(net, lambda: call(net, images), error.layer)
        raise UserError(f'{layers_key}: {error}' + (f"; '{other}' does" if other else '')) from None
    except TapError as error:
        raise UserError(f'{layers_key}: {error}') from None
    except (AssertionError, NameError, RuntimeError, ValueError) as error:
        size = 'x'.join(str(side) for side in images.shape[1:])
        raise UserError(f'{key}: rejects an input of {size} (the training crop): {error}') from error
    return out, taps.features


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that BatchNorm's statistics and spectral norm's vectors do not change."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


def _check_sizes(key: str, lq: Tensor, image: Tensor, sr: Tensor) -> None:
    """Raise a UserError if the teacher's image differs in size from the student's."""
    if image.shape[1] != sr.shape[1]:
        raise UserError(f'{key}: the channels of its images are {image.shape[1]}, those of the student {sr.shape[1]}')
    if image.shape != sr.shape:
        raise UserError(
            f'{key}: turns {lq.shape[-1]} pixels into {image.shape[-1]}, the student into {sr.shape[-1]}; teacher and '
            'student need the same scale'
        )


def _connect(loss: nn.Module, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], name: str) -> None:
    if isinstance(loss, FeatureAlignmentLoss):
        try:
            loss.connect(student, teacher)
        except UserError as error:
            raise UserError(f'train.{name}_opt.{error}') from None
