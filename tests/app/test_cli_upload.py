"""`personalseg upload` against a server that is slow on purpose: parallel requests, and a clean Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.upload import Ledger, _report
from app.client import UploadResult
from tests.interrupts import heed_interrupts

BATCH = 8
USER = "019ad000-0000-7000-8000-000000000001"


class SlowGallery(ThreadingHTTPServer):
    """Knows some photos; an upload is answered once `parallel` of them are waiting, or never (0)."""

    daemon_threads = True

    def __init__(self, parallel: int, known: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.parallel = parallel
        self.known = [hashlib.sha256(content).hexdigest() for content in known]
        self.waiting = 0
        self.files = 0
        self.names: list[str] = []
        self.changed = threading.Condition()
        self.never = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for(self, waiting: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.waiting >= waiting, 60)


class _Handler(BaseHTTPRequestHandler):
    server: SlowGallery

    def do_GET(self) -> None:
        images = [{"id": str(index), "sha256": sha256} for index, sha256 in enumerate(self.server.known)]
        self._answer({"items": images, "next_cursor": None})

    def do_POST(self) -> None:
        names = re.findall(rb'filename="([^"]*)"', self.rfile.read(int(self.headers["Content-Length"])))
        count = len(names)
        with self.server.changed:
            self.server.names += [name.decode() for name in names]
            self.server.waiting += 1
            self.server.files += count
            self.server.changed.notify_all()
        if not self.server.parallel:
            self.server.never.wait()
        elif not self.server.wait_for(self.server.parallel):
            self.send_error(500)
            return
        self._answer({"results": [{"status": "stored", "image_id": "x"}] * count})

    def _answer(self, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five requests' worth of files."""
    for index in range(5 * BATCH):
        (tmp_path / f"{index:03}.jpg").write_bytes(f"photo {index}".encode())
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Any]:
    """Starts a server; ends it with the test."""
    servers: list[SlowGallery] = []

    def start(parallel: int, known: list[bytes]) -> SlowGallery:
        servers.append(SlowGallery(parallel, known))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.never.set()
        server.shutdown()
        server.server_close()


def upload(server: SlowGallery, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PERSONALSEG_URL": server.url,
        "PERSONALSEG_TOKEN": "pseg_usr_x",
        "PERSONALSEG_USER": USER,
        "NO_COLOR": "1",
    }
    command = [sys.executable, "-m", "app.cli", "upload", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_interrupts)


def test_requests_go_side_by_side_and_known_photos_not_at_all(serve: Any, folder: Path) -> None:
    server = serve(3, [b"photo 0", b"photo 17"])
    out, err = upload(server, str(folder), "--parallel", "3", "--json").communicate(timeout=120)
    counts = json.loads(out)
    assert (counts["stored"], counts["duplicate"], counts["rejected"]) == (5 * BATCH - 2, 2, 0), err
    assert server.files == 5 * BATCH - 2


def test_asked_again_known_photos_are_sent_as_well(serve: Any, folder: Path) -> None:
    server = serve(3, [b"photo 0", b"photo 17"])
    assert upload(server, str(folder), "--parallel", "3", "--again").wait(120) == 0
    assert server.files == 5 * BATCH


def test_albums_keep_their_folders(serve: Any, tmp_path: Path) -> None:
    for name in ("2019/IMG_1.jpg", "2020/IMG_1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    server = serve(1, [])
    assert upload(server, str(tmp_path)).wait(120) == 0
    assert server.names == ["2019/IMG_1.jpg", "2020/IMG_1.jpg"]
    assert upload(server, str(tmp_path / "2019" / "IMG_1.jpg")).wait(120) == 0
    assert server.names[2:] == ["IMG_1.jpg"]


def test_a_card_that_is_pulled_out_is_one_sentence(serve: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", serve(1, []).url), ("TOKEN", "pseg_usr_x"), ("USER", USER)):
        monkeypatch.setenv(f"PERSONALSEG_{name}", value)

    async def pulled_out(*_: Any) -> None:
        raise OSError(5, "Input/output error", "/media/card/1.jpg")

    monkeypatch.setattr(sys.modules["app.cli.upload"], "_send_batches", pulled_out)  # the package has the command under this name
    done = CliRunner().invoke(app, ["upload", str(folder), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (1, "file_error"), done.output


def test_the_log_names_rejected_files_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = Path("/home/somebody/Pictures/2024 the long way round/originals/DSC_000123.NEF")
    ledger = Ledger(results=[UploadResult(path, "rejected", code="unsupported_format", reason="A format that is not taken.")])
    _report(ledger, False)
    told = capsys.readouterr().out
    column = "".join(line[:60] for line in told.splitlines()[2:])
    assert "DSC_000123.NEF" in re.sub(r"\s", "", column) or str(path) in told
    assert "…" not in told


def test_ctrl_c_says_how_to_go_on(serve: Any, folder: Path) -> None:
    server = serve(0, [b"photo 1"])
    process = upload(server, str(folder), "--parallel", "2")
    assert server.wait_for(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == ""
    assert err == "Stopped: 1 of 40 files were dealt with. The same command goes on from there.\n"
