"""What a runtime's own exception means to the user."""

from __future__ import annotations

from torch import Tensor

from sdakd_plugin.errors import UserError


def refusal(backend: str, lq: Tensor, error: Exception) -> Exception:
    """The exception to raise when a runtime fails on an image: a MemoryError if it speaks of memory, as PyTorch's
    allocator would, or else a UserError."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    if isinstance(error, MemoryError) or 'alloc' in str(error).lower():
        return MemoryError(reason)
    return UserError(f'{backend} refuses an image of {lq.shape[-1]}x{lq.shape[-2]} pixels: {reason}')
