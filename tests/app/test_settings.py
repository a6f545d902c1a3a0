"""Where settings come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings


def test_a_secret_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "METRICS_TOKEN"):
        monkeypatch.delenv(f"PERSONALSEG_{name}", raising=False)
    monkeypatch.setenv("PERSONALSEG_SECRETS_DIR", str(tmp_path))
    (tmp_path / "personalseg_database_url").write_text("postgresql+psycopg://u:p@db/x\n")
    (tmp_path / "personalseg_metrics_token").write_text("from-a-file-of-the-host\n")
    (tmp_path / "aws_credentials").write_text("somebody else's")
    assert Settings().database_url == "postgresql+psycopg://u:p@db/x"
    assert Settings().metrics_token == "from-a-file-of-the-host"
    monkeypatch.setenv("PERSONALSEG_DATABASE_URL", "sqlite:///from-the-environment")
    assert Settings().database_url == "sqlite:///from-the-environment"
    assert Settings(database_url="sqlite:///given").database_url == "sqlite:///given"


def test_without_such_a_folder_nothing_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setenv("PERSONALSEG_SECRETS_DIR", str(tmp_path / "missing"))
    assert Settings(metrics_token=None).metrics_token is None
    assert not recwarn.list
