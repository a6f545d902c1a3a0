"""Bring a backup back into an empty deployment. The database comes last: a restore that broke off can be repeated."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from app import db
from app.errors import SchemaTooNew
from app.folder_lock import FolderInUse, lock_folder
from app.operations.backup import BLOBS, DATABASE, FORMAT, MANIFEST, sqlite_path
from app.operations.errors import BackupUnreadable, TargetInUse, TargetNotEmpty
from app.settings import Settings
from app.storage import Storage, open_storage

_NOT_OURS = "The file is not a backup of personalseg, or it is damaged"
_CHUNK_BYTES = 1024 * 1024
_BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Restored:
    """What came back, and where its blobs are; `missing` were not in the backup either."""

    made_at: str
    revision: str
    blobs: int
    storage: str
    missing: list[str]


def restore(settings: Settings, source: Path) -> Restored:
    """Restore and migrate, and hold the data folder meanwhile.

    Raises BackupUnreadable, TargetInUse, TargetNotEmpty, NeedsPgDump, SchemaTooNew, OSError.
    """
    target = sqlite_path(settings.database_url)
    with _holding(settings.data_dir):
        _require_empty(target)
        try:
            with tarfile.open(source, "r:") as tar:
                backup = _Backup(tar)
                manifest = _manifest(backup)
                _restore_blobs(backup, manifest, open_storage(settings))
                _restore_database(backup, manifest, target)
        except tarfile.TarError as error:
            raise BackupUnreadable(f"{_NOT_OURS}: {error}.") from error
        db.upgrade(settings.database_url)
    return Restored(manifest["made_at"], db.head_revision(), len(manifest["blobs"]), settings.storage_url, manifest["missing"])


@contextmanager
def _holding(data_dir: Path) -> Iterator[None]:
    """Nobody else starts on the folder within this block; raises TargetInUse, OSError."""
    try:
        lock = lock_folder(data_dir.expanduser().absolute())
    except FolderInUse as error:
        raise TargetInUse(f"{error} Stop it first, or set PERSONALSEG_DATA_DIR.") from error
    with lock:
        yield


def _require_empty(target: Path) -> None:
    """Raises TargetNotEmpty."""
    for file in (target, *(target.with_name(target.name + suffix) for suffix in _BESIDE)):
        # What SQLite left beside an earlier database it would play into the restored one.
        if file.exists():
            raise TargetNotEmpty(
                f"{file} exists: a restore goes into an empty deployment. Move the whole folder {target.parent} away, "
                "or set PERSONALSEG_DATA_DIR."
            )


class _Backup:
    """The backup's files, found by their names at once: `tarfile` goes through all of them for each."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {member.name: member for member in tar}

    def open(self, name: str) -> IO[bytes]:
        """Raises BackupUnreadable where it is not there."""
        if name not in self._members:
            raise BackupUnreadable(f"{_NOT_OURS}: it lacks {name}.")
        stream = self._tar.extractfile(self._members[name])
        if stream is None:
            raise BackupUnreadable(f"{_NOT_OURS}: {name} is not a file.")
        return stream


def _manifest(backup: _Backup) -> dict[str, Any]:
    try:
        manifest = json.loads(backup.open(MANIFEST).read())
        found = manifest["format"], manifest["revision"], manifest["database"]["sha256"], manifest["blobs"], manifest["missing"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupUnreadable(f"{_NOT_OURS}: its manifest cannot be read.") from error
    if found[0] != FORMAT:
        raise BackupUnreadable(f"The backup is of format {found[0]}; this version reads format {FORMAT}.")
    if not db.knows(found[1]):
        raise SchemaTooNew(str(found[1]))
    assert isinstance(manifest, dict)
    return manifest


def _restore_blobs(backup: _Backup, manifest: dict[str, Any], storage: Storage) -> None:
    for blob in manifest["blobs"]:
        key = str(blob["key"])
        if PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts or not key.startswith("users/"):
            raise BackupUnreadable(f"{_NOT_OURS}: it holds a blob outside of the users' folders.")
        data = backup.open(BLOBS + key).read()
        if hashlib.sha256(data).hexdigest() != blob["sha256"]:
            raise BackupUnreadable(f"{_NOT_OURS}: the blob {key} is not what was saved.")
        storage.put_bytes(key, data)


def _restore_database(backup: _Backup, manifest: dict[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.restoring")
    digest = hashlib.sha256()
    try:
        with backup.open(DATABASE) as stream, unfinished.open("wb") as sink:
            while piece := stream.read(_CHUNK_BYTES):
                digest.update(piece)
                sink.write(piece)
        if digest.hexdigest() != manifest["database"]["sha256"]:
            raise BackupUnreadable(f"{_NOT_OURS}: the database is not what was saved.")
        unfinished.chmod(0o600)
        # Once more after the minutes that the blobs took: not everything that opens a database holds the folder.
        _require_empty(target)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
