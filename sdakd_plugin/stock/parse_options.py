"""BasicSR's ``parse_options``, with which stock ``train.py`` and ``test.py`` begin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

ParseOptions = Callable[..., tuple[dict[str, Any], Any]]


def wrap(wrapper: Callable[[ParseOptions], ParseOptions]) -> None:
    """Replace ``parse_options`` by ``wrapper(parse_options)``; the original stays its ``__wrapped__``.

    Stock ``train.py`` reads its data before it builds the model, so a model could complain about neither an empty
    folder nor, in time, anything else.
    """
    from basicsr.utils import options

    stock = options.parse_options

    @wraps(stock)
    def parse_options(*args: Any, **kwargs: Any) -> Any:
        return wrapper(stock)(*args, **kwargs)

    for module in ('basicsr.utils.options', 'basicsr.train', 'basicsr.test'):  # each holds a name for it
        sys.modules[module].parse_options = parse_options  # type: ignore[attr-defined]
