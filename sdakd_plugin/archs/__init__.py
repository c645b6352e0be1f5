"""The network architectures that the plugin adds to BasicSR."""

from sdakd_plugin.archs.gcfsr_arch import GCFSR, GCFSRBlind, GCFSRDiscriminator
from sdakd_plugin.archs.mosr_arch import MoSR
from sdakd_plugin.archs.realplksr_arch import RealPLKSR
from sdakd_plugin.archs.span_arch import SPAN
from sdakd_plugin.archs.srgan_arch import SRGANDiscriminator, SRGANGenerator
from sdakd_plugin.archs.student_discriminator_arch import StudentDiscriminator

__all__ = [
    'GCFSR',
    'SPAN',
    'GCFSRBlind',
    'GCFSRDiscriminator',
    'MoSR',
    'RealPLKSR',
    'SRGANDiscriminator',
    'SRGANGenerator',
    'StudentDiscriminator',
]
