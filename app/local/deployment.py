"""The deployment itself: what is started, in which order, and what happens when a part of it dies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx
import redis
from sqlalchemy import delete
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import SQLAlchemyError

from app import jobs
from app.child_environment import child_environment
from app.children import Child, Supervisor
from app.db import Database, upgrade
from app.errors import SchemaTooNew
from app.local.ground import LocalError, choose_port, take_folder
from app.local.programs import REDIS, WORKER_PREFIX, api_program, redis_program, worker_programs
from app.prepare import TOKEN_FILE, ensure_token_file
from app.settings import REDIS_FILE, Settings
from app.tables import Worker

# Importing torch on a machine that is busy or reads from a slow disk can take a minute.
_START_SECONDS = 180.0
_STOP_SECONDS = 8.0
_REDIS_START_SECONDS = 15.0
# sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included.
_LONGEST_SOCKET_PATH = 100
# Listening everywhere, it is asked at the loopback address of the same family: a socket of "::" does not hear IPv4.
_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


class Deployment:
    """The whole service on this machine; a context manager. `start` answers when it is ready for requests."""

    def __init__(self, data_dir: Path, *, port: int | None = None, quiet: bool = False, **settings: Any) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.quiet = quiet
        self._given = settings
        self._wanted_port = port
        self._stopping = threading.Event()
        self._lock_file: IO[str] | None = None
        self._runtime_dir: Path | None = None
        self._database: Database | None = None
        self._supervisor: Supervisor | None = None
        self._token: str | None = None
        self.settings = self._make_settings(port or 0, "redis://unused")

    @property
    def base_url(self) -> str:
        """Where the API listens, without a final slash."""
        host = _ANY.get(self.settings.host, self.settings.host)
        return f"http://[{host}]:{self.settings.port}" if ":" in host else f"http://{host}:{self.settings.port}"

    @property
    def service_token(self) -> str:
        """The token of DATA_DIR/service-token; only after `start`."""
        if self._token is None:
            raise LocalError("The deployment has not been started.")
        return self._token

    @property
    def child_pids(self) -> dict[str, int]:
        """Process ids of the children that run now, by name."""
        return {} if self._supervisor is None else self._supervisor.pids()

    def start(self) -> None:
        """Start everything and wait until it is ready; raises LocalError, and then nothing of it is left running."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every child, within ten seconds; may be called again."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.stop(_STOP_SECONDS)
            self._supervisor = None
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._runtime_dir is not None:
            (self.data_dir / REDIS_FILE).unlink(missing_ok=True)
            shutil.rmtree(self._runtime_dir, ignore_errors=True)
            self._runtime_dir = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def request_stop(self) -> None:
        """Make `wait` return and a `start` in progress give up; safe in a signal handler."""
        self._stopping.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Sleep until somebody asks to stop; whether that came before the timeout."""
        return self._stopping.wait(timeout_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    # Starting ---------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._stopping.clear()
        self._lock_file = take_folder(self.data_dir)
        self.settings = self._make_settings(choose_port(self.settings.host, self._wanted_port), self._make_socket())
        self._database = self._open_database()
        self._token = self._ensure_token(self._database)
        self._forget_dead_workers("")
        logs = self.data_dir / "logs"
        logs.mkdir(exist_ok=True)
        self._supervisor = Supervisor(logs, self._note_death)
        assert self._runtime_dir is not None
        self._supervisor.remove_at_end(self._runtime_dir)
        self._start_redis(self._supervisor)
        self._tell_redis()
        environment = self._environment()
        for program in (*worker_programs(self.settings, environment), api_program(self.settings, environment)):
            children = self._supervisor.start(program)
        self._wait_until_ready(self._supervisor, children)

    def _make_settings(self, port: int, redis_url: str) -> Settings:
        # The data folder is the whole deployment: an address in the environment must not lead a demo to real data.
        own = {
            "database_url": f"sqlite:///{self.data_dir / 'personalseg.sqlite3'}",
            "storage_url": f"file://{self.data_dir / 'blobs'}",
        }
        return Settings(**{**own, **self._given, "data_dir": self.data_dir, "port": port, "redis_url": redis_url})

    def _make_socket(self) -> str:
        """The URL of the Redis socket, in a short-lived private folder: the data folder's path may be too long."""
        self._runtime_dir = Path(tempfile.mkdtemp(prefix="personalseg-"))
        if len(os.fsencode(self._runtime_dir / "redis.sock")) > _LONGEST_SOCKET_PATH:
            self._runtime_dir.rmdir()
            self._runtime_dir = Path(tempfile.mkdtemp(prefix="pseg-", dir="/tmp"))
        return f"unix://{self._runtime_dir / 'redis.sock'}"

    def _open_database(self) -> Database:
        try:
            upgrade(self.settings.database_url)
        except SchemaTooNew as error:
            raise LocalError(str(error)) from error
        except SQLAlchemyError as error:
            address = make_url(self.settings.database_url).render_as_string(hide_password=True)
            raise LocalError(f"The database {address} cannot be used: {error}") from error
        return Database(self.settings.database_url)

    def _ensure_token(self, database: Database) -> str:
        path = self.data_dir / TOKEN_FILE
        try:
            return ensure_token_file(database, path)
        except OSError as error:
            raise LocalError(f"{path} cannot be read or written: {error.strerror or error}.") from error

    def _start_redis(self, supervisor: Supervisor) -> None:
        assert self._runtime_dir is not None
        child = supervisor.start(redis_program(self._runtime_dir))
        deadline = time.monotonic() + _REDIS_START_SECONDS
        with redis.Redis.from_url(self.settings.redis_url) as client:
            while not _answers(lambda: bool(client.ping())):
                if time.monotonic() > deadline:
                    raise LocalError(f"Redis did not start. Its log ends with:\n{child.tail()}")
                time.sleep(0.02)

    def _tell_redis(self) -> None:
        """For the operator's commands, which are other processes: the socket is in a folder that nobody could guess."""
        path = self.data_dir / REDIS_FILE
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(self.settings.redis_url)

    def _environment(self) -> dict[str, str]:
        given = self.settings.model_dump(mode="json", exclude_none=True)
        # As pydantic-settings reads them: lists are JSON.
        mine = {f"PERSONALSEG_{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
        return {**child_environment(), **mine, "PYTHONUNBUFFERED": "1"}

    def _wait_until_ready(self, supervisor: Supervisor, api: Child) -> None:
        deadline = time.monotonic() + _START_SECONDS
        with httpx.Client(base_url=self.base_url, timeout=5.0, trust_env=False) as client:
            while not _answers(lambda: client.get("/readyz").status_code == httpx.codes.OK):
                if self._stopping.is_set():
                    raise LocalError("Stopped while it was starting.")
                if (child := supervisor.hopeless()) is not None:
                    raise LocalError(f"The {child.name} process does not start. Its log ends with:\n{child.tail()}")
                if time.monotonic() > deadline:
                    raise LocalError(
                        f"The service was not ready after {_START_SECONDS:.0f} s; the logs are in "
                        f"{self.data_dir / 'logs'}. The API's ends with:\n{api.tail()}"
                    )
                self._stopping.wait(0.1)

    # Running ----------------------------------------------------------------------------------------------------------

    def _note_death(self, name: str, pid: int) -> None:
        if name.startswith(WORKER_PREFIX):
            self._forget_dead_workers(str(pid))
        elif name == REDIS and self._database is not None:
            with self._database.write() as session:
                jobs.forget_rings(session)

    def _forget_dead_workers(self, pid: str) -> None:
        """End the leases of a worker that is dead (all of this machine's when `pid` is empty: the folder is locked)."""
        assert self._database is not None
        hostname = socket.gethostname()
        dead = delete(Worker).where(Worker.hostname == hostname)
        with self._database.write() as session:
            jobs.expire_leases_of(session, f"{hostname}:{pid}:" if pid else f"{hostname}:")
            session.execute(dead.where(Worker.pid == int(pid)) if pid else dead)
            if not pid:
                jobs.forget_rings(session)


def _answers(ask: Callable[[], bool]) -> bool:
    with suppress(httpx.HTTPError, redis.RedisError, OSError):
        return ask()
    return False
