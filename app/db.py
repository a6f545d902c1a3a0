"""Engine, sessions and migrations, for SQLite and PostgreSQL.

A `Database` hands out two kinds of sessions. `read()` never writes. `write()` commits when its block ends well and
rolls back otherwise; on SQLite it takes the write lock at once, because a transaction that reads first and writes
later can be refused without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

import migrations
from app.errors import SchemaTooNew
from app.settings import Settings

DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)
"""What a database answers with that is restarted or locked, or that ended a transaction which stood still; it passes."""

_WRITES = "personalseg_writes"
Made = TypeVar("Made")
# A server whose host is silent is away: without these (libpq's names; in the URL they may be given otherwise) requests wait for minutes.
_PATIENCE = {"connect_timeout": 3, "tcp_user_timeout": 5000, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
_BUSY_TIMEOUT_MILLISECONDS = 15_000
_STALLED_WRITE_MILLISECONDS = 10_000
_CHECKPOINT_TIMEOUT_MILLISECONDS = 500
# Any fixed number will do; it keeps two processes from migrating one PostgreSQL at once.
_MIGRATION_LOCK = 7_215_011_431


def database_sentence(error: Exception) -> str:
    """For the operator: what is wrong with the database. Without the error's own text, which may hold the address and the password."""
    kind = type(getattr(error, "orig", None) or error).__name__
    if kind == "InsufficientPrivilege":
        return f"The database refuses this to the role of PERSONALSEG_DATABASE_URL ({kind}): let it make tables in that database."
    if isinstance(error, ProgrammingError):
        return (
            f"The database answers, but its tables are not those of the revision it names ({kind}), as after a restore over "
            "tables that were there: restore into an empty database (docs/operations.md, Backups)."
        )
    return f"The database does not answer as it should ({kind}): check PERSONALSEG_DATABASE_URL and the server."


def make_engine(url: str, *, connections: int = 20, extra_connections: int = 20) -> Engine:
    """An engine for this URL; SQLite gets WAL, foreign keys, a busy timeout and its folder."""
    pool: dict[str, Any] = {"hide_parameters": True, "pool_size": connections, "max_overflow": extra_connections}
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
        engine = sqlalchemy.create_engine(parsed, pool_pre_ping=True, connect_args=patience, **pool)
        event.listen(engine, "begin", _bound_write)
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(parsed, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # None stops the driver from opening transactions by its own rules; `_begin_sqlite` opens them.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # What is erased must not be readable in the free pages of the file.
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()


def _bound_write(connection: Connection) -> None:
    # A process that is stopped in the middle of a write holds its rows' locks: PostgreSQL takes them away after this time.
    if connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {_STALLED_WRITE_MILLISECONDS}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def open_database(settings: Settings) -> Database:
    """The database of these settings, for a process that serves or works."""
    return Database(settings.database_url, connections=settings.database_connections, extra_connections=settings.database_extra_connections)


class Database:
    """The engine of one database, and its sessions. `connections` are kept open, `extra_connections` for a moment."""

    def __init__(self, url: str, *, connections: int = 20, extra_connections: int = 20) -> None:
        self.url = url
        self.engine = make_engine(url, connections=connections, extra_connections=extra_connections)
        self._reader = sessionmaker(self.engine, expire_on_commit=False)
        self._writer = sessionmaker(self.engine.execution_options(**{_WRITES: True}), expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads; nothing is committed."""
        with self._reader() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose transaction commits when the block ends, and rolls back when it raises."""
        with self._writer.begin() as session:
            yield session

    def overwrite_deleted(self) -> bool:
        """Overwrite what deleted rows have left in SQLite's write-ahead log; False while somebody reads from it.

        PostgreSQL's is the administrator's (vacuum, archived logs): see SECURITY.md.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TIMEOUT_MILLISECONDS}")
            (is_busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MILLISECONDS}")
        finally:
            connection.close()
        return not is_busy

    def listen(self, name: str, listener: Callable[..., None]) -> None:
        """Call `listener` at this event of every session of this database."""
        for sessions in (self._reader, self._writer):
            event.listen(sessions, name, listener)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


def alembic_config() -> Config:
    """Alembic's configuration, wherever this is installed and whatever the working folder."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The revision that this version of the code stands on."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None, "the project ships at least one migration"
    return head


def current_revision(url: str) -> str | None:
    """The revision that the database is at; None when it has no tables of ours yet."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    finally:
        engine.dispose()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; creates it when it is empty. Raises SchemaTooNew for an unknown one."""
    config = alembic_config()
    with migrating(url) as connection:
        _refuse_unknown(revision_of(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`, or to nothing with `base`."""
    config = alembic_config()
    with migrating(url) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """A connection in the one transaction of a migration, alone with the database.

    SQLite changes a table by making it anew (Alembic's batch mode). Dropping the old one would delete, or set to null, what refers to
    it: foreign keys are not enforced meanwhile, but checked at the end. Raises IntegrityError where one refers to nothing then.
    """
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _let_tables_be_made_anew)
    try:
        with engine.execution_options(**{_WRITES: True}).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            yield connection
            if connection.dialect.name == "sqlite":
                _require_foreign_keys(connection)
    finally:
        engine.dispose()


def _let_tables_be_made_anew(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = OFF")  # has no effect inside a transaction
    cursor.close()


def _require_foreign_keys(connection: Connection) -> None:
    check = "PRAGMA foreign_key_check"
    broken = connection.exec_driver_sql(check).all()
    if broken:
        table, _row, parent, _number = broken[0]
        reason = f"{len(broken)} rows would refer to nothing, the first from {table} to {parent}: the migration was taken back"
        raise IntegrityError(check, None, RuntimeError(reason))


def revision_of(connection: Connection) -> str | None:
    """The revision that the database of this connection is at."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions_before(revision: str | None) -> list[str]:
    """The revisions that a database at this one can be taken back to, the last one first. Raises SchemaTooNew for an unknown one."""
    if revision is None:
        return []
    _refuse_unknown(revision)
    ways = ScriptDirectory.from_config(alembic_config()).iterate_revisions(revision, "base")
    return [step.revision for step in ways if step.revision != revision]


def knows(revision: str | None) -> bool:
    """Whether this version of the code can migrate from this revision; None is an empty database."""
    if revision is None:
        return True
    try:
        ScriptDirectory.from_config(alembic_config()).get_revision(revision)
    except CommandError:
        return False
    return True


def _refuse_unknown(revision: str | None) -> None:
    if revision is not None and not knows(revision):
        raise SchemaTooNew(revision)


def once(attempt: Callable[[], Made]) -> Made:
    """Do it; and again where another transaction was faster with a row that may be there once: then that row is there to be found."""
    try:
        return attempt()
    except IntegrityError:
        return attempt()
