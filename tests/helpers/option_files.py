"""The option files of the repository."""

import json
from typing import Any

from sdakd_plugin.checks.option_file import read_yaml
from tests.helpers.paths import ROOT


def read(name: str) -> dict[str, Any]:
    """The options of ``options/NAME.yml``, in plain dictionaries that a test may change."""
    options: dict[str, Any] = json.loads(json.dumps(read_yaml(str(ROOT / f'options/{name}.yml'))))
    return options
