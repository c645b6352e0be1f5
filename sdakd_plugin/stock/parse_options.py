"""A wrapper around BasicSR's ``parse_options``, the first call of ``train.py`` and ``test.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

ParseOptions = Callable[..., tuple[dict[str, Any], Any]]


def wrap(wrapper: Callable[[ParseOptions], ParseOptions]) -> None:
    """Replace ``parse_options`` by ``wrapper(parse_options)``; the original remains as its ``__wrapped__``.

    Stock ``train.py`` creates folders and reads the data before it builds the model, so a check in the model would be
    too late.
    """
    from basicsr.utils import options

    stock = options.parse_options

    @wraps(stock)
    def parse_options(*args: Any, **kwargs: Any) -> Any:
        return wrapper(stock)(*args, **kwargs)

    for module in ('basicsr.utils.options', 'basicsr.train', 'basicsr.test'):  # each has imported the name
        sys.modules[module].parse_options = parse_options  # type: ignore[attr-defined]
