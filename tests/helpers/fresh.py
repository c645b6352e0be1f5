"""A freshly installed machine: no weights on disk, and the addresses of all weights redirected to a local server.

Only the addresses are replaced: the download, its output and the location of the files are real.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

URLS = 'urls.json'  # in the current folder: addresses by torchvision's names of networks and by known names


def arrive():
    """Make this process one on such a machine."""
    from torchvision.models import get_model_weights

    from sdakd_plugin.weights import KNOWN, places

    os.environ.update(HOME=str(Path('home').absolute()), TORCH_HOME=str(Path('home/torch').absolute()))
    os.environ.pop('SDAKD_CACHE', None)
    for name, url in json.loads(Path(URLS).read_text()).items():
        if name in KNOWN:
            KNOWN[name] = replace(KNOWN[name], url=url)
        else:
            get_model_weights(name)['IMAGENET1K_V1'].value.url = url
    places.find_spec = lambda name, package=None: None  # the package with some of the weights is not installed


def main(arguments):
    """``sdakd`` there."""
    arrive()
    from sdakd_plugin.cli import main

    return main(arguments)
