"""Networks, registered with BasicSR."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.archs import (  # noqa: F401
    gcfsr_arch,
    srgan_arch,
    student_discriminator_arch,
)
