"""Feature distillation with a small MLP (connector) on the student's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.utils.processes import mean


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two features (n, c, h, w)."""
    return F.mse_loss(student, teacher)


def rmse_gram(student: Tensor, teacher: Tensor) -> Tensor:
    """Root mean squared error of two features, plus that of their Gram matrices (GCC, NeurIPS 2021)."""
    return _rmse(student, teacher) + _rmse(gram(student), gram(teacher))


def gram(feature: Tensor) -> Tensor:
    """Gram matrices (n, c, c) of features (n, c, h, w), divided by c h w as in BasicSR's style loss."""
    flat = feature.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def _rmse(student: Tensor, teacher: Tensor) -> Tensor:
    # the gradient of a square root is infinite at zero
    return (F.mse_loss(student, teacher) + 1e-12).sqrt()


START = 1e-4  # bound of the initial weights of a connector's last layer
DISTANCES = {'mse': mse, 'rmse_gram': rmse_gram}


@LOSS_REGISTRY.register()
class FeatureAlignmentLoss(nn.Module):
    """``sum_i distance(MLP_i(F_s,i), F_t,i)`` with ``MLP(F) = W2 relu(W1 F)``, W1 and W2 1x1 convolutions.

    After Liu et al., "A Simple and Generic Framework for Feature Distillation via Channel-wise Transformation"
    (arXiv 2303.13212), which SDAKD (arXiv 2510.03870) adapts to students with fewer channels. The details are not
    published; ``W1: C_s -> C_hidden``, ``W2: C_hidden -> C_t`` is a reconstruction. Only the student's features are
    transformed, since transforming the teacher's would make zero a solution. If a student's feature map is r times as
    high and wide as the teacher's, it is first pixel-unshuffled to r^2 times the channels (not in the papers).

    The MLPs ("connectors") are initialised near zero (not in the papers), are trained with the student and are not part
    of its checkpoints. They are created from the first features, which determine their sizes: call ``connect`` (or the
    loss) once before building an optimizer of ``parameters()``.

    Args:
        layers: names of the features: a list (the same names in both networks), a mapping from student to teacher, or a
            number of depths, which are spread evenly over the blocks of each network. With a number, ``layers`` is
            empty until ``name_layers`` of ``distillation/blocks.py`` sets it.
        loss_weight: weight of the sum.
        hidden_channels: C_hidden; ``None`` for the teacher's number of channels; 0 for no hidden layer, which is one
            1x1 convolution without bias, as in GCC.
        distance: 'mse', or 'rmse_gram' (GCC's root mean squared error of the features and of their Gram matrices).
        normalize: divide the distance of each layer by the distance between the teacher's features and zero (for 'mse':
            by their mean square), so that one weight suits teachers whose features differ by orders of magnitude. Not
            in the paper.
    """

    def __init__(
        self,
        layers: int | Sequence[str] | Mapping[str, str],
        loss_weight: float = 1.0,
        hidden_channels: int | None = None,
        distance: str = 'mse',
        normalize: bool = True,
    ) -> None:
        super().__init__()
        is_number = isinstance(layers, int) and not isinstance(layers, bool) and layers > 0
        if not is_number and (not isinstance(layers, Sequence | Mapping) or isinstance(layers, str) or not layers):
            raise UserError(
                'layers: expected a number of depths, a list of layer names, or a mapping student: '
                f'teacher, not {layers!r}'
            )
        if distance not in DISTANCES:
            raise UserError(f"distance: unknown '{distance}'" + nearest(distance, DISTANCES))
        if hidden_channels is not None and (not isinstance(hidden_channels, int) or hidden_channels < 0):
            raise UserError(f'hidden_channels: must be 0 or more, a whole number, not {hidden_channels}')
        if loss_weight < 0:
            raise UserError(f'loss_weight: must not be negative, not {loss_weight}')
        self.depths: int | None = None
        self.layers: dict[str, str] = {}
        if isinstance(layers, int):
            self.depths = layers
        else:
            self.layers = dict(layers) if isinstance(layers, Mapping) else {name: name for name in layers}
        if not all(isinstance(name, str) for pair in self.layers.items() for name in pair):
            raise UserError(f"layers: the name of a layer is text, such as 'body.5', not {layers!r}")
        self.same_names = isinstance(layers, Sequence)
        self.loss_weight = loss_weight
        self.hidden_channels = hidden_channels
        self.distance = DISTANCES[distance]
        self.normalize = normalize
        self.connectors = nn.ModuleDict()

    def connect(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Create the connectors for features of these shapes, without affecting the random numbers of training.

        Raises:
            UserError: the spatial sizes of a pair do not match.
        """
        with torch.random.fork_rng(devices=[]):
            for source, target in self.layers.items():
                f_t = as_map(teacher[target])
                f_s = folded(as_map(student[source]), f_t)
                if len(f_s) != len(f_t):
                    raise UserError(
                        f"layers: '{source}' of the student has {len(f_s)} maps for {len(f_t)} of '{target}' of the "
                        'teacher: one of them cuts images into windows; name a layer around it'
                    )
                if f_s.shape[2:] != f_t.shape[2:]:
                    sizes = ['x'.join(map(str, feature.shape[2:])) for feature in (student[source], f_t)]
                    raise UserError(
                        f"layers: '{source}' of the student is {sizes[0]}, '{target}' of the teacher "
                        f'{sizes[1]}: align layers of equal spatial size, or of a whole multiple of the '
                        "teacher's"
                    )
                connector = self._connector(f_s.shape[1], f_t.shape[1])
                self.connectors[_key(source)] = connector.to(f_s.device)

    def _connector(self, c_s: int, c_t: int) -> nn.Module:
        hidden = c_t if self.hidden_channels is None else self.hidden_channels
        last = nn.Conv2d(hidden or c_s, c_t, 1, bias=hidden > 0)
        # A student's features can be a hundred times larger than the teacher's (last block of an untrained RRDBNet). A
        # connector that passed them on would first of all shrink the student, so it starts near zero.
        nn.init.uniform_(last.weight, -START, START)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Conv2d(c_s, hidden, 1), nn.ReLU(inplace=True), last) if hidden else last

    def forward(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """Compare features by layer name, each (n, c, h, w) or (n, c); returns a scalar.

        The teacher's features receive no gradient.
        """
        if not self.connectors:
            self.connect(student, teacher)
        wanted = {source: as_map(teacher[target]).detach() for source, target in self.layers.items()}
        distances = torch.stack(
            [
                self.distance(self.connectors[_key(source)](folded(as_map(student[source]), f_t)), f_t)
                for source, f_t in wanted.items()
            ]
        )
        if self.normalize:  # over the whole batch, of which each process has a part
            sizes = torch.stack([self.distance(torch.zeros_like(f_t), f_t) for f_t in wanted.values()])
            distances = distances / mean(sizes).clamp_min(1e-12)
        return self.loss_weight * distances.sum()


def as_map(feature: Tensor) -> Tensor:
    """Reshape a vector (n, c) to a map (n, c, 1, 1)."""
    return feature[:, :, None, None] if feature.dim() == 2 else feature


def folded(feature: Tensor, like: Tensor) -> Tensor:
    """Pixel-unshuffle a map (n, c, r h, r w) to (n, r^2 c, h, w), the spatial size of ``like`` (n, C, h, w).

    No information is lost, and positions correspond to the same part of the image. RRDBNet of scale 2 does the same
    with its input. Maps of other sizes are returned unchanged.
    """
    ratios = {divmod(mine, theirs) for mine, theirs in zip(feature.shape[2:], like.shape[2:], strict=True)}
    ratio, rest = ratios.pop()
    return F.pixel_unshuffle(feature, ratio) if not ratios and ratio > 1 and rest == 0 else feature


def _key(layer: str) -> str:
    return layer.replace('.', '/')  # a module's name must not contain a dot
