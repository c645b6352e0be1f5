"""The network architectures that the plugin adds to BasicSR."""

from sdakd_plugin.archs.gcfsr_arch import GCFSR, GCFSRBlind, GCFSRDiscriminator
from sdakd_plugin.archs.srgan_arch import SRGANDiscriminator, SRGANGenerator
from sdakd_plugin.archs.student_discriminator_arch import StudentDiscriminator

__all__ = ['GCFSR', 'GCFSRBlind', 'GCFSRDiscriminator', 'SRGANDiscriminator', 'SRGANGenerator', 'StudentDiscriminator']
