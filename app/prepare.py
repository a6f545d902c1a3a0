"""What a deployment needs once before anything else starts: the newest tables and a first service token.

`python -m app.prepare` does both for the settings of the environment; it may be repeated.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from app import auth
from app.db import Database, upgrade
from app.errors import SchemaTooNew, Unauthorized
from app.settings import Settings

TOKEN_FILE = "service-token"  # noqa: S105 - the name of a file


def prepare(settings: Settings) -> str:
    """Migrate the database and make sure of the token file; returns the token's text. Raises SchemaTooNew, OSError."""
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    try:
        return ensure_token_file(database, settings.data_dir / TOKEN_FILE)
    finally:
        database.close()


def ensure_token_file(database: Database, path: Path) -> str:
    """The token in this file, which is made anew where it is missing or not valid any more. Raises OSError."""
    held = path.read_text().strip() if path.exists() else ""
    if held and _is_service_token(database, held):
        path.chmod(0o600)
        return held
    with database.write() as session:
        _, text = auth.create_token(session, None)
        # Inside the transaction: a token whose file cannot be written does not exist.
        write_private(path, text + "\n")
    return text


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as target:
            target.write(text)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_service_token(database: Database, text: str) -> bool:
    try:
        return auth.authenticate(database, text).is_service
    except Unauthorized:
        return False


def main() -> int:
    """Prepare; the exit code."""
    try:
        prepare(Settings())
    except (SchemaTooNew, OSError) as error:
        sys.stderr.write(f"personalseg: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
