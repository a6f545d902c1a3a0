"""How much memory the API takes while a large batch is uploaded in one request, and whether it still answers.

`python -m benchmarks.uploads [--files 3000] [--megabytes 2000]` starts the real API in a process of its own on a temporary folder,
sends it one multipart request that is made while it is sent (nothing of it is held here either), and prints a table.
Memory that does not depend on the number of files for 3,000 does not for 10,000: give `--files 10000 --megabytes 20000` to see it.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Annotated

import httpx
import psutil
import typer
from PIL import Image

from app import auth
from app.db import Database, upgrade
from app.settings import MEBIBYTE, Settings

_BOUNDARY = b"personalseg-benchmark"
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@dataclass
class Seen:
    """What was seen while the request went on."""

    rss_bytes: list[int] = field(default_factory=list)
    decoders_bytes: list[int] = field(default_factory=list)
    health_seconds: list[float] = field(default_factory=list)


def main(
    files: Annotated[int, typer.Option(min=1, help="Photos of the batch.")] = 3000,
    megabytes: Annotated[int, typer.Option(min=1, help="Their size together.")] = 2000,
) -> None:
    """Upload the batch and print what it took."""
    photo = _photo(megabytes * 1_000_000 // files)
    with tempfile.TemporaryDirectory(prefix="personalseg-bench-uploads-") as folder:
        settings = Settings(data_dir=Path(folder), redis_url=f"unix://{folder}/no-redis.sock", port=_free_port(), log_level="WARNING")
        token = _prepare(settings)
        process = _start(settings, folder)
        try:
            seen, seconds, counts = _measure(settings, token, psutil.Process(process.pid), photo, files)
        finally:
            process.terminate()
            process.wait(30)
        _print(seen, seconds, counts, files, files * len(photo))


def _photo(size: int) -> bytes:
    """A JPEG of noise of about this many bytes."""
    side = max(16, int((size / 1.2) ** 0.5))
    noise = Image.frombytes("RGB", (side, side), Random(0).randbytes(3 * side * side))
    target = BytesIO()
    noise.save(target, "JPEG", quality=93)
    return target.getvalue()


def _numbered(photo: bytes, number: int) -> bytes:
    """The same photo with a number in its comment: another file."""
    comment = str(number).encode()
    return photo[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + photo[2:]


def _body(photo: bytes, files: int) -> Iterator[bytes]:
    for number in range(files):
        head = f'Content-Disposition: form-data; name="files"; filename="{number}.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        yield b"--" + _BOUNDARY + b"\r\n" + head.encode()
        yield _numbered(photo, number)
        yield b"\r\n"
    yield b"--" + _BOUNDARY + b"--\r\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prepare(settings: Settings) -> str:
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    with database.write() as session:
        token = auth.ensure_service_token(session)
    database.close()
    assert token is not None
    return token


def _start(settings: Settings, folder: str) -> subprocess.Popen[bytes]:
    mine = {f"PERSONALSEG_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_defaults=True).items()}
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", str(settings.port), "--no-access-log"]
    with (Path(folder) / "api.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **mine}, stdout=log, stderr=log)
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(settings.port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((Path(folder) / "api.log").read_text()[-3000:])
        time.sleep(0.1)
    return process


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=30).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _measure(settings: Settings, token: str, process: psutil.Process, photo: bytes, files: int) -> tuple[Seen, float, dict[str, int]]:
    seen, stopping = Seen(), threading.Event()
    watcher = threading.Thread(target=_look, args=(process, settings.port, seen, stopping))
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", headers=headers, timeout=None, trust_env=False) as client:
        user_id = client.post("/v1/users").raise_for_status().json()["id"]
        watcher.start()
        started = time.monotonic()
        kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}"}
        answer = client.post(f"/v1/users/{user_id}/images", content=_body(photo, files), headers=kind).raise_for_status().json()
        seconds = time.monotonic() - started
        stopping.set()
        watcher.join()
    return seen, seconds, {name: answer[name] for name in ("stored", "duplicate", "rejected")}


def _look(process: psutil.Process, port: int, seen: Seen, stopping: threading.Event) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        while not stopping.wait(_LOOK_SECONDS):
            started = time.monotonic()
            client.get("/healthz").raise_for_status()
            seen.health_seconds.append(time.monotonic() - started)
            seen.rss_bytes.append(process.memory_info().rss)
            seen.decoders_bytes.append(sum(_rss(child) for child in process.children()))


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _print(seen: Seen, seconds: float, counts: dict[str, int], files: int, total_bytes: int) -> None:
    health = sorted(seen.health_seconds)
    quarter = max(1, len(seen.rss_bytes) // 4)
    rows = [
        ("batch", f"{files} files, {total_bytes / 1e9:.2f} GB, one request"),
        ("answer", ", ".join(f"{count} {name}" for name, count in counts.items())),
        ("time", f"{seconds:.0f} s, {total_bytes / 1e6 / seconds:.0f} MB/s, {files / seconds:.0f} files/s"),
        ("API before", f"{seen.rss_bytes[0] / MEBIBYTE:.0f} MiB"),
        ("API peak, first quarter", f"{max(seen.rss_bytes[:quarter]) / MEBIBYTE:.0f} MiB"),
        ("API peak", f"{max(seen.rss_bytes) / MEBIBYTE:.0f} MiB (bound: 300)"),
        ("decoders peak, together", f"{max(seen.decoders_bytes) / MEBIBYTE:.0f} MiB"),
        ("/healthz", f"median {1000 * statistics.median(health):.0f} ms, 99 % {1000 * health[int(0.99 * (len(health) - 1))]:.0f} ms"),
        ("/healthz, longest", f"{1000 * health[-1]:.0f} ms of {len(health)}"),
    ]
    for name, value in rows:
        print(f"{name:26} {value}")


if __name__ == "__main__":
    typer.run(main)
