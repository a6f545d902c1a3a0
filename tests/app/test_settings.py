"""Where settings come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError
from typer.testing import CliRunner

from app.cli import app
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


def test_a_named_folder_that_is_not_there_is_refused_and_the_usual_one_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("PERSONALSEG_SECRETS_DIR", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="missing, which is not there"):
        Settings()
    monkeypatch.delenv("PERSONALSEG_SECRETS_DIR")
    monkeypatch.setattr("app.settings._SECRETS_DIR", str(tmp_path / "missing"))
    assert Settings(metrics_token=None).metrics_token is None
    assert not recwarn.list


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("https://a.example", ("https://a.example",)),
        (" https://a.example, https://b.example ,", ("https://a.example", "https://b.example")),
        ('["https://a.example"]', ("https://a.example",)),
        ("", ()),
    ],
)
def test_origins_are_a_list_with_commas_or_json(given: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALSEG_CORS_ORIGINS", given)
    assert Settings().cors_origins == origins


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "[https://a.example]"),
        ("LOG_LEVEL", "verbose"),
        ("REDIS_URL", "localhost:6379"),
        ("DATABASE_URL", "mysql://somebody@somewhere/x"),
        ("SECRETS_DIR", "/not/there"),
    ],
)
@pytest.mark.parametrize("command", [["doctor"], ["serve"], ["bases", "list"]])
def test_a_wrong_setting_is_one_sentence(command: list[str], name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PERSONALSEG_{name}", value)
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "bad_setting" and f"PERSONALSEG_{name}" in error["message"]


def test_serve_keeps_the_databases_password_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALSEG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PERSONALSEG_DATABASE_URL", "postgresql://somebody:geheim@127.0.0.1:1/x")
    done = CliRunner().invoke(app, ["serve", "--json"])
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "cannot_start" and "somebody:***@127.0.0.1" in error["message"]
    assert "geheim" not in done.output


def test_a_tilde_is_the_users_folder_for_everything_that_lies_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, folder in (("DATA_DIR", "~/photos"), ("WEIGHTS_DIR", "~/weights"), ("SOURCE_DIR", "~/voc")):
        monkeypatch.setenv(f"PERSONALSEG_{name}", folder)
    settings = Settings()
    assert (settings.data_dir, settings.weights_dir, settings.source_dir) == tuple(tmp_path / n for n in ("photos", "weights", "voc"))
    assert settings.database_url == f"sqlite:///{tmp_path}/photos/personalseg.sqlite3"
    assert settings.storage_url == f"file://{tmp_path}/photos/blobs"
    monkeypatch.setenv("PERSONALSEG_DATA_DIR", "~nobody-of-this-name/photos")
    with pytest.raises(ValidationError, match="no such user's folder"):
        Settings()
