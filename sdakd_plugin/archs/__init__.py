"""The network architectures that the plugin adds to BasicSR."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.archs.gcfsr_arch import GCFSR, GCFSRBlind, GCFSRDiscriminator
from sdakd_plugin.archs.srgan_arch import SRGANDiscriminator, SRGANGenerator
from sdakd_plugin.archs.student_discriminator_arch import StudentDiscriminator

__all__ = ['GCFSR', 'GCFSRBlind', 'GCFSRDiscriminator', 'SRGANDiscriminator', 'SRGANGenerator', 'StudentDiscriminator']
