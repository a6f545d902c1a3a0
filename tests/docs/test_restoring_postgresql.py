"""docs/operations.md, Backups: what it says of PostgreSQL brings a dump back that an older release made, over a newer one's tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text

from app import db
from tests.app.test_migrations_with_rows import FIRST, ROWS

ROOT = Path(__file__).parents[2]
BACKUPS = (ROOT / "docs" / "operations.md").read_text("utf-8").split("\n## Backups\n")[1].split("\n## ")[0]


@pytest.fixture
def url(postgres_server: Any) -> Iterator[str]:
    """A PostgreSQL database without any table, of this test's own."""
    name = f"restored_{uuid4().hex}"
    _execute(postgres_server.get_uri(driver="psycopg"), f"CREATE DATABASE {name}")
    yield postgres_server.get_uri(database=name, driver="psycopg")
    _execute(postgres_server.get_uri(driver="psycopg"), f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, *statements: str) -> None:
    engine = db.make_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def _users(url: str) -> list[str]:
    engine = db.make_engine(url)
    with engine.connect() as connection:
        found = list(connection.execute(text("SELECT external_id FROM users")).scalars())
    engine.dispose()
    return found


def _follow(script: str, url: str, server: Any, folder: Path) -> None:
    """Run a documented example, with the tools of the server that the tests stand on and this checkout's command."""
    (folder / "personalseg").write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli "$@"\n')
    (folder / "personalseg").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{server.bin_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "URL": make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
        "PERSONALSEG_DATABASE_URL": url,
        "PERSONALSEG_DATA_DIR": str(folder),
    }
    done = subprocess.run(["sh", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_dump_of_an_older_release_comes_back_over_the_tables_of_this_one(url: str, postgres_server: Any, tmp_path: Path) -> None:
    (dump,) = re.findall(r"`(pg_dump [^`]*)`", BACKUPS)
    (restore,) = re.findall(r"^   ```sh\n(.*?)^   ```", BACKUPS, re.M | re.S)
    db.upgrade(url, FIRST)
    _execute(url, *(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})" for table, row in ROWS.items()))
    _follow(dump, url, postgres_server, tmp_path)
    db.upgrade(url)
    _execute(url, "DELETE FROM users")
    for _ in range(2):  # what it leaves can be restored over, too
        _follow(restore, url, postgres_server, tmp_path)
        assert (_users(url), db.current_revision(url)) == (["ännchen"], db.head_revision())
        _follow(dump, url, postgres_server, tmp_path)


def test_a_file_that_is_no_dump_empties_nothing(url: str, postgres_server: Any, tmp_path: Path) -> None:
    (restore,) = re.findall(r"^   ```sh\n(.*?)^   ```", BACKUPS, re.M | re.S)
    db.upgrade(url)
    (tmp_path / "personalseg.dump").write_bytes(b"PGDMP, but cut off")
    with pytest.raises(AssertionError, match="pg_restore"):
        _follow(restore, url, postgres_server, tmp_path)
    assert db.current_revision(url) == db.head_revision()


def test_tables_in_the_way_of_a_migration_are_named_as_such(url: str, tmp_path: Path) -> None:
    db.upgrade(url)
    _execute(url, f"UPDATE alembic_version SET version_num = '{FIRST}'")  # as `pg_restore --clean` leaves it
    environment = {**os.environ, "PERSONALSEG_DATABASE_URL": url, "PERSONALSEG_DATA_DIR": str(tmp_path)}
    for command, code in (("app.prepare",), 1), (("app.cli", "migrate"), 3):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, "tables are not those of the revision" in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_a_role_that_may_make_no_tables_is_named_as_such(url: str, tmp_path: Path) -> None:
    role = f"guest_{uuid4().hex}"
    _execute(url, f"CREATE ROLE {role} LOGIN")
    environment = {
        **os.environ,
        "PERSONALSEG_DATABASE_URL": make_url(url).set(username=role).render_as_string(hide_password=False),
        "PERSONALSEG_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-m", "app.prepare"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "refuses this to the role" in done.stderr and role not in done.stderr
