"""The images that a run trains and validates on."""

from sdakd_plugin.data import cached_teacher_dataset, photo_dataset, sample_image_dataset, whole_image_dataset  # noqa: F401
