# SPDX-License-Identifier: Apache-2.0
"""Answers the requests of a browser on this machine. It only reads, and only below the folders that it was given."""

import errno
import socketserver
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from fer.errors import InputError
from fer.files import describe
from fer.report.live import pages
from fer.report.live.comparison import compare_runs
from fer.report.live.details import read_run
from fer.report.live.folders import MOST_BYTES, Root, sign
from fer.report.live.frames import CONTENT_TYPES, find_picture
from fer.report.live.listing import RunFolder, open_run

ADDRESS = '127.0.0.1'  # other machines cannot reach it
_HOSTS = (ADDRESS, 'localhost')
_MOST_FIELDS = 20  # of a query
_SECONDS = 30  # until a silent connection is closed
_POLICY = (
    "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    'Content-Security-Policy': _POLICY,
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
}
_NO_RUN = 'There is no such run below the folder of runs. It may have been removed or renamed.'


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    kind: str  # content type
    body: bytes
    tag: str = ''  # identifies the content of a file. Without one, the answer is never kept by the browser


class Refused(Exception):
    """A request that gets an error page with this status and text."""

    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status = status


class Server(ThreadingHTTPServer):
    """A server of the pages, with a thread per connection."""

    daemon_threads = True

    def __init__(self, port: int, runs: Root, data: Root | None):
        self.runs, self.data = runs, data
        super().__init__((ADDRESS, port), Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would look up the name of this machine
        self.server_name, self.server_port = ADDRESS, self.server_address[1]


def open_server(port: int, runs: Root, data: Root | None) -> Server:
    """Returns a server that listens. `serve_forever` answers requests.

    Args:
      port: 0 for any free one.
      runs: the folder of runs.
      data: the folder whose pictures may be shown, None for none.

    Raises:
      InputError: the port is in use, or only the system may use it.
    """
    try:
        return Server(port, runs, data)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        reason = 'in use' if error.errno == errno.EADDRINUSE else 'needs more rights'
        raise InputError(f'--port={port}: {reason}; choose another, or 0 for any free one') from None


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    server_version, sys_version = 'fer', ''
    protocol_version = 'HTTP/1.1'
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Sends an error page. The base class calls this for malformed requests and other methods."""
        self.close_connection = True  # what follows on the connection may be the body of a refused request
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        text = 'Only GET and HEAD are answered.' if status == HTTPStatus.METHOD_NOT_ALLOWED else message or ''
        self._send(_error(status, text))

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing: a page that is open asks every ten seconds."""

    def _answer(self) -> None:
        if self.headers.get('Content-Length') or self.headers.get('Transfer-Encoding'):
            self.close_connection = True  # the body is not read
        try:
            check_host(self.headers.get_all('Host', []))
            answer = respond(self.server.runs, self.server.data, self.path)
        except Refused as refused:
            answer = _error(refused.status, str(refused))
        except InputError as error:
            answer = _error(HTTPStatus.NOT_FOUND, str(error))
        except OSError as error:  # a folder was removed, or cannot be read
            answer = _error(HTTPStatus.NOT_FOUND, describe(error))
        except Exception:  # a fault of ours: the browser gets a page, and the terminal the traceback
            self._send(_error(HTTPStatus.INTERNAL_SERVER_ERROR, 'The page has a fault. The terminal shows it.'))
            raise
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        headers = getattr(self, 'headers', None)  # None if they could not be parsed
        is_known = bool(answer.tag) and headers is not None and headers.get('If-None-Match') == answer.tag
        try:
            self.send_response(HTTPStatus.NOT_MODIFIED if is_known else answer.status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header('Cache-Control', 'private, no-cache' if answer.tag else 'no-store')
            if answer.tag:
                self.send_header('ETag', answer.tag)
            if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
                self.send_header('Allow', 'GET, HEAD')
            if self.close_connection:
                self.send_header('Connection', 'close')
            if not is_known:
                self.send_header('Content-Type', answer.kind)
                self.send_header('Content-Length', str(len(answer.body)))
            self.end_headers()
            if self.command != 'HEAD' and not is_known:
                self.wfile.write(answer.body)
        except ConnectionError:  # the browser has closed the page
            self.close_connection = True


def check_host(names: list[str]) -> None:
    """Refuses a request whose Host header names another machine.

    A page of another site may let its own name point to 127.0.0.1 (DNS rebinding). The browser then sends that name.
    Any port is accepted, because a tunnel may begin at another one.
    """
    host = names[0].partition(':')[0].lower() if len(names) == 1 else ''
    if host not in _HOSTS:
        raise Refused(HTTPStatus.FORBIDDEN, f'Open the page as http://{ADDRESS} or http://localhost.')


def respond(runs: Root, data: Root | None, target: str) -> Answer:
    """Returns the answer to a request.

    Args:
      runs: the folder of runs.
      data: the folder whose pictures may be shown, None for none.
      target: path and query, as the browser has sent them.

    Raises:
      Refused: there is no such page, run or picture.
      InputError: a file is not one that may be read.
      OSError: a file cannot be read.
    """
    path, _, text = target.partition('?')
    path = unquote(path, errors='surrogateescape')
    if path in pages.STATIC:
        return Answer(HTTPStatus.OK, *pages.read_static(path))
    if path.startswith('/picture/'):
        return _picture(data, path.removeprefix('/picture/'))
    query = _parse_query(text)
    if path == '/':
        first = open_run(runs, query['first']) if query.get('first') else None
        return _page(pages.write_list(runs, query, first))
    if path.startswith('/run/'):
        return _page(pages.write_run(read_run(runs, data, _open(runs, path.removeprefix('/run/')))))
    if path == '/compare':
        first, second = (_open(runs, query.get(name, '')) for name in ('first', 'second'))
        return _page(pages.write_comparison(compare_runs(runs, first, second)))
    raise Refused(HTTPStatus.NOT_FOUND, 'There is no such page.')


def _parse_query(text: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors='surrogateescape', max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, f'More than {_MOST_FIELDS} values in the address.') from None


def _open(runs: Root, name: str) -> RunFolder:
    folder = open_run(runs, name)
    if folder is None:
        raise Refused(HTTPStatus.NOT_FOUND, _NO_RUN)
    return folder


def _picture(data: Root | None, name: str) -> Answer:
    path = data.find(name) if data else None
    picture: Path | None = find_picture(data, path) if data and path else None
    if picture is None:
        raise Refused(HTTPStatus.NOT_FOUND, 'There is no such picture below --data_root.')
    inode, size, written = sign(picture)
    if size > MOST_BYTES:
        raise Refused(HTTPStatus.NOT_FOUND, f'The picture is larger than {MOST_BYTES // 2**20} MiB.')
    kind = CONTENT_TYPES[picture.suffix.lower()]
    return Answer(HTTPStatus.OK, kind, picture.read_bytes(), f'"{inode:x}-{size:x}-{written:x}"')


def _page(text: str) -> Answer:
    return Answer(HTTPStatus.OK, 'text/html; charset=utf-8', text.encode('utf-8', errors='replace'))


def _error(status: HTTPStatus, text: str) -> Answer:
    return _page(pages.write_error(status.phrase, text))._replace(status=status)
