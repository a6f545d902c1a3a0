"""What starts once before anything else, and what the API's own process says where it cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from app import prepare
from app.db import Database
from app.settings import Settings
from app.tables import Token
from tests.conftest import free_port

SECRET = "hunter2-of-the-database"


def started(folder: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PERSONALSEG_", "OTEL_"))}
    environment |= {"PERSONALSEG_DATA_DIR": str(folder)} | {f"PERSONALSEG_{name}": value for name, value in settings.items()}
    return subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("command", "code"), [(["app.prepare"], 1), (["uvicorn", "--factory", "app.main:app_factory", "--port", str(free_port())], 78)]
)
def test_a_setting_that_is_not_usable_is_one_sentence_without_its_value(tmp_path: Path, command: list[str], code: int) -> None:
    done = started(tmp_path, *command, DATABASE_URL=f"postgres://personalseg:{SECRET}@db/personalseg")
    said = done.stdout + done.stderr
    assert done.returncode == code
    assert "The setting PERSONALSEG_DATABASE_URL is not usable" in said
    assert SECRET not in said and "Traceback" not in said


def test_a_setting_that_is_not_usable_is_in_no_traceback_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALSEG_DATABASE_URL", f"postgres://personalseg:{SECRET}@db/personalseg")
    with pytest.raises(ValueError, match="database_url") as raised:
        Settings()
    assert SECRET not in str(raised.value)


def test_a_database_that_is_away_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://personalseg:{SECRET}@127.0.0.1:{free_port()}/personalseg"
    done = started(tmp_path, "app.prepare", DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("personalseg: The database does not answer") and done.stderr.count("\n") == 1
    assert SECRET not in done.stderr


def test_the_token_of_the_file_is_kept_unless_it_was_revoked_and_looking_at_it_is_no_use_of_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    first = prepare.prepare(settings)
    assert prepare.prepare(settings) == first == (tmp_path / prepare.TOKEN_FILE).read_text().strip()
    database = Database(settings.database_url)
    try:
        with database.write() as session:
            token = session.scalars(select(Token)).one()
            assert token.last_used_at is None
            token.revoked_at = token.created_at
    finally:
        database.close()
    second = prepare.prepare(settings)
    assert second != first and second == (tmp_path / prepare.TOKEN_FILE).read_text().strip()
