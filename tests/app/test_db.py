"""Migrations and sessions."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from app import db
from app.db import Database
from app.errors import SchemaTooNew
from app.tables import Image, Table, Token, User

BOTH_DATABASES = True


def test_the_migrations_make_what_the_tables_say(database_url: str) -> None:
    config = db.alembic_config()
    with db.migrating(database_url) as connection:
        config.attributes["connection"] = connection
        command.check(config)  # raises when a new migration would be needed


def test_downgrading_removes_every_table_and_upgrading_brings_them_back(database_url: str) -> None:
    def tables() -> set[str]:
        engine = db.make_engine(database_url)
        names = set(sqlalchemy.inspect(engine).get_table_names())
        engine.dispose()
        return names - {"alembic_version"}

    assert tables() == set(Table.metadata.tables)
    db.downgrade(database_url, "base")
    assert tables() == set()
    assert db.current_revision(database_url) is None
    db.upgrade(database_url)
    assert tables() == set(Table.metadata.tables)


def add_user_with_token(database: Database) -> None:
    with database.write() as session:
        user = User(external_id="kept")
        session.add(user)
        session.flush()
        session.add(Token(user_id=user.id, kind="user", token_hash="hash", prefix="pseg_usr_"))


def test_a_table_that_is_made_anew_keeps_what_refers_to_it(database: Database) -> None:
    add_user_with_token(database)
    with db.migrating(database.url) as connection:
        operations = Operations(MigrationContext.configure(connection, opts={"render_as_batch": True}))
        with operations.batch_alter_table("users", recreate="always" if connection.dialect.name == "sqlite" else "auto") as users:
            users.add_column(sqlalchemy.Column("nickname", sqlalchemy.String(8)))
    with database.read() as session:
        assert session.query(Token.token_hash).scalar() == "hash"
    with pytest.raises(IntegrityError), database.write() as session:  # enforced again
        session.add(Token(user_id="nobody", kind="user", token_hash="other", prefix="pseg_usr_"))


def test_a_migration_that_leaves_rows_referring_to_nothing_changes_nothing(database: Database) -> None:
    add_user_with_token(database)
    with pytest.raises(IntegrityError), db.migrating(database.url) as connection:
        connection.exec_driver_sql("UPDATE tokens SET user_id = 'nobody'")
    with database.read() as session:
        assert session.query(Token.user_id).scalar() == session.query(User.id).scalar()


def test_a_postgresql_that_is_silent_is_away_after_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = db.make_engine(f"postgresql+psycopg://somebody@127.0.0.1:{silent.getsockname()[1]}/x")
        before = time.monotonic()
        with pytest.raises(OperationalError, match="timeout"):
            engine.connect()
        assert time.monotonic() - before < 20  # without a bound: for ever


def test_the_url_has_the_last_word_on_how_long_to_wait() -> None:
    given: list[dict[str, Any]] = []
    engine = db.make_engine("postgresql+psycopg://somebody@127.0.0.1/x?connect_timeout=60")

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        given.append(options)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        engine.connect()
    (options,) = given
    assert (options["connect_timeout"], options["tcp_user_timeout"]) == ("60", 5000)


def test_upgrading_twice_is_harmless_and_keeps_the_rows(database: Database) -> None:
    with database.write() as session:
        session.add(User(external_id="kept"))
    db.upgrade(database.url)
    assert db.current_revision(database.url) == db.head_revision()
    with database.read() as session:
        assert session.query(User.external_id).scalar() == "kept"


def test_a_database_of_a_newer_version_is_refused_by_name(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '2999_01_01_later'")
    with pytest.raises(SchemaTooNew, match="2999_01_01_later"):
        db.upgrade(database.url)


def test_upgrading_does_not_depend_on_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/not/yet/there.sqlite3"
    db.upgrade(url)
    assert db.current_revision(url) == db.head_revision()


def test_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.sqlite3")
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


def test_foreign_keys_hold_and_cascade(database: Database) -> None:
    def photo(user_id: str) -> Image:
        return Image(user_id=user_id, sha256="0" * 64, filename="a", media_type="image/png", byte_size=1, width=1, height=1)

    with pytest.raises(IntegrityError), database.write() as session:
        session.add(photo("nobody"))
    with database.write() as session:
        user = User()
        session.add(user)
        session.flush()
        session.add(photo(user.id))
    with database.write() as session:
        session.execute(sqlalchemy.delete(User))
    with database.read() as session:
        assert session.query(Image).count() == 0


def test_a_failed_write_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        session.add(User(external_id="gone"))
        session.flush()
        raise RuntimeError
    with database.read() as session:
        assert session.query(User).count() == 0


def test_times_come_back_as_the_same_moment_in_utc(database: Database) -> None:
    moment = datetime(2026, 5, 31, 23, 30, 1, 234567, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with database.write() as session:
        session.add(User(created_at=moment))
    with database.read() as session:
        stored = session.query(User.created_at).scalar()
    assert stored == moment and stored.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="no time zone"), database.write() as session:
        session.add(User(created_at=datetime(2026, 1, 1)))
