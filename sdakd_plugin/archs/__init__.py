"""Networks, registered with BasicSR."""
from sdakd_plugin.archs import (  # noqa: F401
    gcfsr_arch,
    srgan_arch,
    student_discriminator_arch,
)
