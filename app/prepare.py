"""What a deployment needs once before anything else starts: the newest tables and a first service token.

`python -m app.prepare` does both for the settings of the environment; it may be repeated.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app import auth
from app.db import Database, database_sentence, upgrade
from app.errors import SchemaTooNew
from app.setting_errors import BAD_SETTING, setting_sentence
from app.settings import Settings

TOKEN_FILE = "service-token"  # noqa: S105 - the name of a file


def prepare(settings: Settings) -> str:
    """Migrate the database and make sure of the token file; returns the token's text. Raises SchemaTooNew, SQLAlchemyError, OSError."""
    upgrade(settings.database_url)
    database = Database(settings.database_url)
    try:
        return ensure_token_file(database, settings.data_dir / TOKEN_FILE)
    finally:
        database.close()


def ensure_token_file(database: Database, path: Path) -> str:
    """The token in this file, which is made anew where it is missing or not valid any more. Raises OSError."""
    held = path.read_text().strip() if path.exists() else ""
    if held and auth.is_service_token(database, held):
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


def main() -> int:
    """Prepare; the exit code."""
    try:
        prepare(Settings())
    except BAD_SETTING as error:
        complaint = setting_sentence(error)
    except SQLAlchemyError as error:
        complaint = database_sentence(error)
    except (SchemaTooNew, OSError) as error:
        complaint = str(error)
    else:
        return 0
    sys.stderr.write(f"personalseg: {complaint}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
