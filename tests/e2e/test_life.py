"""A deployment's own life: start, refuse to start, stop, die, start again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from app.client import Client
from app.db import Database, upgrade
from app.folder_lock import lock_folder
from app.local import Deployment, LocalError
from tests.e2e.conftest import FAST, deployment_in, new_user, processes_below, within


def test_stopped_in_the_middle_it_goes_on_where_it_was(tmp_path: Path, photos: list[Path]) -> None:
    folder = tmp_path / "data"
    first = deployment_in(folder)
    started = time.monotonic()
    first.start()
    print(f"MEASURED start: {time.monotonic() - started:.1f} s")
    user = new_user(first)
    (image_id,) = [result.image_id for result in user.upload(photos[:1])]
    user.upload(photos[1:])
    assert user.wait(user.segment([image_id or ""], model="base", adapt="never"), timeout_seconds=60).status == "succeeded"
    mask = user.mask(image_id or "", model="base")
    job = user.adapt(budget_seconds=10)
    assert within(60, lambda: (user.job("adaptation", job.id).percent or 0) > 1)
    children = processes_below(os.getpid())
    stopped = time.monotonic()
    first.stop()
    seconds = time.monotonic() - stopped
    print(f"MEASURED stop with a running job: {seconds:.1f} s")
    assert seconds < 10
    # A decoder ends with its socket, and whoever inherits it takes a moment to bury it.
    _gone, alive = psutil.wait_procs([child for child in children if child.pid != os.getpid()], timeout=3)
    assert not alive

    with deployment_in(folder) as second:
        assert second.service_token == first.service_token
        user = Client(second.base_url, user._http.headers["Authorization"].removeprefix("Bearer "), user_id=user.user_id)
        ended = user.wait(job, timeout_seconds=120)
        assert ended.status in {"succeeded", "refused"}, ended.error_reason
        assert ended.attempt == 1
        assert user.mask(image_id or "", model="base") == mask
        assert len(user.images()) == len(photos)


def serve(folder: Path, port: int, *options: str) -> subprocess.Popen[bytes]:
    settings = {f"PERSONALSEG_{name.upper()}": str(value) for name, value in FAST.items()}
    environment = {**os.environ, **settings, "PERSONALSEG_DATA_DIR": str(folder), "PERSONALSEG_PORT": str(port)}
    return subprocess.Popen([sys.executable, "-m", "app.cli", "serve", *options], env=environment, stdout=subprocess.PIPE)


def read_until(process: subprocess.Popen[bytes], pattern: str) -> str:
    assert process.stdout is not None
    text_so_far = ""
    for line in process.stdout:
        text_so_far += line.decode()
        if re.search(pattern, text_so_far):
            return text_so_far
    raise AssertionError(f"ended without {pattern!r}: {text_so_far}")


def test_serve_says_how_to_use_it_and_stops_on_sigterm(tmp_path: Path) -> None:
    with serve(tmp_path, 0) as process:
        welcome = read_until(process, "Ctrl-C")
        assert "curl" in welcome and str(tmp_path / "service-token") in welcome
        children = processes_below(process.pid)
        assert len(children) >= 5
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert time.monotonic() - asked < 10
        _gone, alive = psutil.wait_procs(children, timeout=3)
        assert not alive


def test_serve_tells_a_program_where_it_is(tmp_path: Path) -> None:
    with serve(tmp_path, 0, "--json") as process:
        assert process.stdout is not None
        places = json.loads(process.stdout.readline())
        assert Client(places["url"], Path(places["service_token_file"]).read_text().strip()).is_alive()
        assert (places["data_dir"], places["documentation"]) == (str(tmp_path), f"{places['url']}/docs")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stdout.read() == b""


def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    with serve(tmp_path, 0) as process:
        read_until(process, "Ctrl-C")
        children = processes_below(process.pid)
        (socket_folder,) = {found[1] for child in children if (found := re.search(r"(/\S+)/redis\.sock", " ".join(child.cmdline())))}
        process.kill()
        process.wait(5)

        def all_gone() -> bool:
            # Where nobody collects orphans, a dead one stays as a zombie.
            return not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)

        assert within(15, all_gone)
    assert within(5, lambda: not Path(socket_folder).exists())


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(LocalError, match=f"Port {port} on 127.0.0.1 is in use.*PERSONALSEG_PORT"):
            deployment_in_port(tmp_path, port).start()


def deployment_in_port(folder: Path, port: int) -> Deployment:
    return Deployment(folder, port=port, quiet=True, **FAST)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LocalError, match=r"data folder .*file/data cannot be written"):
        deployment_in(tmp_path / "file" / "data").start()


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'personalseg.sqlite3'}"
    upgrade(url)
    database = Database(url)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '2099_01_01_from_the_future'"))
    database.close()
    with pytest.raises(LocalError, match=r"2099_01_01_from_the_future.*newer version"):
        deployment_in(tmp_path).start()


def test_a_folder_in_use_is_named(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(LocalError, match="already running on the data folder"):
        deployment_in(tmp_path).start()


def test_a_worker_that_cannot_start_stops_the_start(tmp_path: Path) -> None:
    before = set(processes_below(os.getpid()))
    with pytest.raises(LocalError, match=r"worker-\w+ process does not start(.|\n)*no_such_base"):
        deployment_in(tmp_path, default_base="no_such_base").start()
    assert set(processes_below(os.getpid())) <= before


def test_a_worker_refuses_a_schema_it_does_not_know(tmp_path: Path) -> None:
    environment = {**os.environ, "PERSONALSEG_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "workers", "--queue", "segmentation"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 78
    assert "has no tables yet" in ended.stderr and "migrate the database" in ended.stderr


def test_prepare_migrates_and_writes_the_token(tmp_path: Path) -> None:
    environment = {**os.environ, "PERSONALSEG_DATA_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "app.prepare"], env=environment, check=True, timeout=60)
    token = (tmp_path / "service-token").read_text()
    assert token.startswith("pseg_svc_")
