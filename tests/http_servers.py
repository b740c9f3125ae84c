"""Small HTTP servers that answer as MLflow servers and the proxies before them do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# An error page of nginx.
PAGE = "<html>\r\n<head><title>{status}</title></head>\r\n<body>{body}</body>\r\n</html>\r\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, status: int, content: bytes, kind: str = "text/html") -> None:
        """Send an answer after the whole request has been read."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def serving_with(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve requests with a handler; yield the server's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(status: int, body: str = "") -> Iterator[str]:
    """Answer every request with a page; yield the server's address."""
    page = PAGE.format(status=status, body=body or "nginx" * 100).encode()

    class Handler(_Handler):
        def do_GET(self) -> None:
            self.read()
            self.send(status, page)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 names of http.server

    with serving_with(Handler) as address:
        yield address


class Artifacts:
    """The files of an artifact server, and the sizes of all files that were sent to it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.files: dict[str, bytes] = {}
        self.sent: list[int] = []
        self.location = ""


@contextmanager
def artifact_server(limit: int = 10**9) -> Iterator[Artifacts]:
    """Serve artifacts as `mlflow server --artifacts-only` does, behind a limit on requests."""
    artifacts = Artifacts(limit)

    class Handler(_Handler):
        def do_PUT(self) -> None:
            content = self.read()
            artifacts.sent.append(len(content))
            if len(content) > artifacts.limit:
                self.send(413, PAGE.format(status=413, body="nginx" * 100).encode())
                return
            artifacts.files[self.path] = content
            self.send(200, b"{}", "application/json")

        def do_GET(self) -> None:
            if "?path=" in self.path:  # lists a folder; a file has no files below it
                self.send(200, b'{"files": []}', "application/json")
                return
            content = artifacts.files.get(self.path)
            self.send(404 if content is None else 200, content or b"")

        def do_DELETE(self) -> None:
            for path in [path for path in artifacts.files if path.startswith(self.path)]:
                del artifacts.files[path]
            self.send(200, b"{}", "application/json")

    with serving_with(Handler) as address:
        artifacts.location = f"{address}/api/2.0/mlflow-artifacts/artifacts/1"
        yield artifacts
