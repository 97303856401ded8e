"""A web server of the tests' own, for what is downloaded."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from metaest.datasets._fetch import Archive


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator["Server"]:
    """Serve `files`, by name, while the block runs."""
    served = Server(files)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        served.shutdown()
        served.server_close()
        thread.join()


class Server(ThreadingHTTPServer):
    """Serves `files`; `broken` requests end before their last byte."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.broken = 0
        self.requests = 0

    def archive(self, name: str) -> Archive:
        url = f"http://127.0.0.1:{self.server_port}/{name}"
        return Archive(url, hashlib.md5(self.files.get(name, b"")).hexdigest())


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        body = self.server.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.broken > 0:
            self.server.broken -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
