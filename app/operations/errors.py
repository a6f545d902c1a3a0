"""What an operator's command ends with, beside `app.errors`.

OperationRefused
├── NeedsPgDump          the database is PostgreSQL, whose own tool makes the backup
├── BackupUnreadable     the file is no backup of ours, or is damaged
├── NoRoom               the disk of the backup is full
├── TargetInUse          somebody holds the data folder that is to be restored into
└── TargetNotEmpty       a restore goes into an empty deployment only
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class OperationRefused(Exception):
    """Nothing that was there was changed; says why and what to do."""

    code: ClassVar[str] = "refused"


class NeedsPgDump(OperationRefused):
    """PostgreSQL is backed up by its own tools."""

    code = "needs_pg_dump"

    def __init__(self) -> None:
        super().__init__(
            "The database is PostgreSQL: back it up with pg_dump --format=custom, and the blobs with the tools of their store "
            "(docs/operations.md, Backups)."
        )


class BackupUnreadable(OperationRefused):
    """Not a backup, or a damaged one."""

    code = "backup_unreadable"


class NoRoom(OperationRefused):
    """The disk that the backup goes to is full; nothing of it is kept."""

    code = "no_room"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"There is no room left in {folder} for the backup: make some, or give another place.")


class TargetInUse(OperationRefused):
    """The data folder is held by a deployment that runs, or by another restore."""

    code = "folder_in_use"


class TargetNotEmpty(OperationRefused):
    """There is a database already."""

    code = "target_not_empty"
