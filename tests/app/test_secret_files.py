"""The secrets of a deployment by `docker compose`."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.secret_files import make_secret_files
from app.settings import Settings


def test_they_are_made_once_and_kept_and_the_settings_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_secret_files(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    make_secret_files(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    for name in ("DATABASE_URL", "METRICS_TOKEN"):
        monkeypatch.delenv(f"PERSONALSEG_{name}", raising=False)
    monkeypatch.setenv("PERSONALSEG_SECRETS_DIR", str(tmp_path))
    settings = Settings()
    assert settings.database_url == f"postgresql+psycopg://personalseg:{before['postgres_password']}@postgres:5432/personalseg"
    assert settings.metrics_token == before["personalseg_metrics_token"]


def test_two_deployments_have_nothing_in_common(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        make_secret_files(tmp_path / name)
    assert not {path.read_text() for path in (tmp_path / "one").iterdir()} & {path.read_text() for path in (tmp_path / "other").iterdir()}
