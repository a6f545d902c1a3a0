"""A local HTTP server that hands out checkpoints, well or badly, and a tiny base whose checkpoint it has."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from models.bases.info import BaseInfo, Published
from models.bases.registry import find_base

FILE = "tiny-checkpoint.pth"
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def good(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def slow(request: BaseHTTPRequestHandler, body: bytes) -> None:
    time.sleep(1.0)
    good(request, body)


def another_file(request: BaseHTTPRequestHandler, body: bytes) -> None:
    good(request, b"\0" * len(body))


def a_page(request: BaseHTTPRequestHandler, body: bytes) -> None:
    good(request, b"<html>Please log in</html>")


def too_long(request: BaseHTTPRequestHandler, body: bytes) -> None:
    good(request, body + body)


def cut_off(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: len(body) // 2])


def cut_off_without_a_length(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(body[: len(body) // 2])


def status(code: int) -> Answer:
    return lambda request, body: request.send_error(code)


class WeightsServer:
    """Answers with the next of `answers`, and with the last for ever; `paths` are those asked for."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.answers: list[Answer] = [good]
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self, outer.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/models"


@contextmanager
def weights_server(body: bytes) -> Iterator[WeightsServer]:
    server = WeightsServer(body)
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def checkpoint_of(name: str = "lraspp_mobilenet_v3_large") -> bytes:
    """A checkpoint as torchvision saves it, at random weights: for tests only."""
    torch.manual_seed(0)
    network = find_base(name).network()
    file = io.BytesIO()
    torch.save(network.network.state_dict(), file)
    return file.getvalue()


def entry(body: bytes, root: str, name: str = "lraspp_mobilenet_v3_large") -> BaseInfo:
    """The registry's entry, but its checkpoint is `body`, at `root`."""
    sha256 = hashlib.sha256(body).hexdigest()
    return replace(find_base(name), sha256=sha256, published=Published(root, FILE, sha256, len(body)))
