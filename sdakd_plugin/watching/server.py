"""Serves the page of a run on this machine's loopback address; it reads files and writes none."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from sdakd_plugin.errors import UserError
from sdakd_plugin.evaluation.page import embed
from sdakd_plugin.watching.page import TEMPLATE, live
from sdakd_plugin.watching.run_folder import RunFolder

HOST = '127.0.0.1'
NAMES = (HOST, 'localhost')  # by which a browser may call it: a foreign name is another site's that resolves to it
POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'"
)


def make_server(run: RunFolder, port: int) -> ThreadingHTTPServer:
    """A server of the page ``/``, its data ``/data.json`` and the pictures that the data names.

    Args:
        run: the run.
        port: 0 for any free port.

    Raises:
        UserError: the port is taken or not allowed.
    """
    lock = Lock()  # a run is read by one request at a time

    def data() -> dict[str, Any]:
        with lock:
            return live(run)

    try:
        return ThreadingHTTPServer((HOST, port), _handler(run, data))
    except OverflowError:
        raise UserError(f'--port: {port} is not in 0 to 65535') from None
    except OSError as error:
        reason = 'is taken' if error.errno == errno.EADDRINUSE else f'cannot be used ({error.strerror})'
        raise UserError(f'--port: {port} {reason}; choose another one, or 0 for any that is free') from error


def _handler(run: RunFolder, data: Callable[[], dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if (urlsplit(f'//{self.headers.get("Host", "")}').hostname or '') not in NAMES:
                return self.send_error(HTTPStatus.FORBIDDEN)
            path = unquote(urlsplit(self.path).path)
            try:
                if path == '/':
                    self.answer('text/html; charset=utf-8', embed(TEMPLATE, data()).encode())
                elif path == '/data.json':
                    self.answer('application/json', json.dumps(data(), allow_nan=False).encode())
                elif (name := path[1:]) in shown(data()):  # nothing else of the disk is served
                    self.answer('image/png', (run.folder / name).read_bytes())
                else:
                    self.send_error(HTTPStatus.NOT_FOUND)
            except OSError:  # the run's folder has been moved, or the browser has gone
                self.close_connection = True

        def answer(self, kind: str, content: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            headers = {
                'Content-Type': kind,
                'Content-Length': str(len(content)),
                'Content-Security-Policy': POLICY,
                'X-Content-Type-Options': 'nosniff',
                'Cache-Control': 'max-age=60' if kind == 'image/png' else 'no-store',
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing: the page asks every few seconds."""

    return Handler


def shown(data: dict[str, Any]) -> set[str]:
    """The picture files that a page shows."""
    files = {file for entry in data['pictures'] for file in (*entry['beside'].values(), *dict(entry['steps']).values())}
    return files | {data['comparison']} - {None}
