"""``python -m sdakd_plugin``: the command ``sdakd``."""

import sys

from sdakd_plugin.cli import main

if __name__ == '__main__':
    sys.exit(main())
