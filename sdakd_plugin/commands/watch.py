"""``sdakd watch``: the page of a run that is going on, for a browser."""

from __future__ import annotations

import argparse

from sdakd_plugin.watching.run_folder import RunFolder, find
from sdakd_plugin.watching.server import HOST, make_server


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    folder = find(arguments.run)
    with make_server(RunFolder(folder), arguments.port) as server:
        port = server.server_address[1]
        print(f'{folder}: http://{HOST}:{port}/ (Ctrl-C ends it)', flush=True)
        print(f'From another machine: ssh -L {port}:{HOST}:{port} USER@THIS_MACHINE, then the same address', flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
