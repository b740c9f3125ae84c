"""A web server on loopback that serves files, some only with a password or a signature."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from http_servers import serving_with

SECRET = "swordfish-5f2c9d"  # noqa: S105 used in tests only


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    """Serve files by their paths; below /signed/ and /locked/ only with the secret.

    Yields
    ------
    host and port
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            url = urlsplit(self.path)
            basic = "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()
            signed = parse_qs(url.query).get("X-Amz-Signature") == [SECRET]
            allowed = {
                "signed": signed,
                "locked": self.headers["Authorization"] == basic,
            }.get(url.path.split("/")[1], True)
            content = files.get(url.path)
            status = 403 if not allowed else 404 if content is None else 200
            self.send_response(status)
            given = content if content is not None and status == 200 else b""
            self.send_header("Content-Length", str(len(given)))
            self.end_headers()
            if body:
                self.wfile.write(given)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with serving_with(Handler) as url:
        yield url.removeprefix("http://")
