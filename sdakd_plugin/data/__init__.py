"""The images that a run trains and validates on."""

from sdakd_plugin.data import (  # noqa: F401
    cached_teacher_dataset,
    lq_photo_dataset,
    photo_dataset,
    sample_image_dataset,
    whole_image_dataset,
)
