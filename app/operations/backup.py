"""One file that holds a SQLite deployment: the database as of one moment, and every blob that its rows speak of.

A plain tar: `database.sqlite3`, `blobs/<key>` …, and `manifest.json` at the end, which has the sha256 of each. The
service may run meanwhile. Redis is not in it: the rows are the truth.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.clock import utc_now
from app.db import Database, revision_of
from app.errors import BlobNotFound, is_disk_full
from app.observability.metrics import installed_version
from app.operations import repository
from app.operations.errors import NeedsPgDump, NoRoom
from app.operations.service import Operator

FORMAT = 1
DATABASE = "database.sqlite3"
MANIFEST = "manifest.json"
BLOBS = "blobs/"


@dataclass(frozen=True)
class BackupMade:
    """What went into the file; `missing` are blobs that were deleted while it was made, or lost before."""

    file: str
    byte_size: int
    revision: str | None
    blobs: int
    missing: list[str]


def sqlite_path(database_url: str) -> Path:
    """The database's file; raises NeedsPgDump for another kind of database."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise NeedsPgDump
    return Path(url.database)


def make_backup(operator: Operator, target: Path, *, with_blobs: bool = True) -> BackupMade:
    """Write the backup, whole or not at all, readable by its owner only; raises NeedsPgDump, NoRoom, OSError, sqlite3.Error."""
    source = sqlite_path(operator.settings.database_url)
    with _heeding_room(target.parent):
        return _make(operator, source, target, with_blobs)


@contextmanager
def _heeding_room(folder: Path) -> Iterator[None]:
    """A full disk, whoever meets it within this block, is NoRoom: all that is written lies in this folder."""
    try:
        yield
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        if _is_full(error):
            raise NoRoom(folder) from error
        raise


def _is_full(error: OSError | sqlite3.Error | SQLAlchemyError) -> bool:
    return is_disk_full(error) or getattr(getattr(error, "orig", error), "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _make(operator: Operator, source: Path, target: Path, with_blobs: bool) -> BackupMade:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            made = _write(operator, source, stream, target, with_blobs)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return made


def _write(operator: Operator, source: Path, stream: io.BufferedWriter, target: Path, with_blobs: bool) -> BackupMade:
    missing: list[str] = []
    blobs: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="personalseg-backup-", dir=target.parent) as folder,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        copy = Path(folder) / DATABASE
        _copy_database(source, copy)
        keys, revision = _contents(f"sqlite:///{copy}")
        _fold_up(copy)
        tar.add(copy, DATABASE, filter=_anonymous)
        if with_blobs:
            for key in keys:
                try:
                    data = operator.storage.get_bytes(key)
                except BlobNotFound:
                    missing.append(key)
                    continue
                _add(tar, BLOBS + key, data)
                blobs.append({"key": key, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
        manifest = {
            "format": FORMAT,
            "made_at": utc_now().isoformat(),
            "version": installed_version(),
            "revision": revision,
            "database": {"sha256": _sha256(copy), "size": copy.stat().st_size},
            "with_blobs": with_blobs,
            "blobs": blobs,
            "missing": missing,
        }
        _add(tar, MANIFEST, json.dumps(manifest).encode())
    return BackupMade(str(target), stream.tell(), revision, len(blobs), missing)


def _copy_database(source: Path, copy: Path) -> None:
    """SQLite's online backup: one consistent moment, while others write."""
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as held, closing(sqlite3.connect(copy)) as made:
        held.backup(made)


def _contents(url: str) -> tuple[list[str], str | None]:
    """The keys of the blobs that the copy speaks of, and its revision."""
    database = Database(url)
    try:
        with database.read() as session:
            return list(dict.fromkeys(repository.blob_keys(session))), revision_of(session.connection())
    finally:
        database.close()


def _fold_up(copy: Path) -> None:
    """Out of WAL mode: one file, whose bytes change no more when somebody reads it."""
    with closing(sqlite3.connect(copy)) as made:
        made.execute("PRAGMA journal_mode = DELETE")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o600
    tar.addfile(member, io.BytesIO(data))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
