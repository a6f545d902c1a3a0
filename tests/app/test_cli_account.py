"""`personalseg settings`, `webhook`, `quotas` against a running API: what they change, say, and refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli import app
from app.client import Client
from app.db import Database
from app.settings import Settings
from app.webhooks import outbox
from tests.app.hostile.server import running_api
from tests.app.photos import jpeg

URL = "https://example.org/hook"


@pytest.fixture
def user(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A user whom the environment logs in."""
    with running_api(settings, tmp_path / "api.log") as api, Client(api.url, api.token) as service:
        made = service.create_user()
        assert made.token is not None
        for name, value in (("URL", api.url), ("TOKEN", made.token), ("USER", made.id)):
            monkeypatch.setenv(f"PERSONALSEG_{name}", value)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
        monkeypatch.setenv("COLUMNS", "300")
        with Client(api.url, made.token, user_id=made.id) as client:
            yield client


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def said(*arguments: str) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def answer(*arguments: str, code: int = 0) -> Any:
    done = invoke(*arguments, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def end_a_job(user: Client, settings: Settings, folder: Path) -> str:
    """A job that has ended, and is to be told."""
    (folder / "a.jpg").write_bytes(jpeg())
    user.upload(folder / "a.jpg")
    job = user.cancel(user.segment(adapt="never"))
    database = Database(settings.database_url)
    with database.write() as session:
        assert outbox.announce(session) == 1
    database.close()
    return job.id


def test_settings_webhook_and_quotas(user: Client, settings: Settings, tmp_path: Path) -> None:
    assert answer("settings", "show") == {"auto_adapt": False}
    assert said("settings", "set", "auto-adapt", "on") == "auto-adapt is on.\n"
    assert user.settings().auto_adapt is True
    assert said("settings", "show") == "auto-adapt is on.\n"
    assert answer("settings", "set", "auto-adapt", "off") == {"auto_adapt": False}
    assert user.settings().auto_adapt is False
    for wrong in (("auto-adapt", "perhaps"), ("other", "on")):
        assert invoke("settings", "set", *wrong).exit_code == 2

    assert answer("webhook", "show", code=2)["error"]["code"] == "webhook_not_found"
    assert answer("webhook", "set", "http://example.org", code=2)["error"]["code"] == "webhook_bad_url"
    secret = answer("webhook", "set", URL)["secret"]
    assert secret.startswith("whsec_")
    assert secret not in said("webhook", "set", f"{URL}/2")
    assert (answer("webhook", "show"), said("webhook", "show")) == ({"url": f"{URL}/2"}, f"{URL}/2\n")
    rotated = said("webhook", "set", URL, "--rotate-secret")
    assert "whsec_" in rotated and secret not in rotated

    assert said("webhook", "deliveries") == "Nothing was told yet.\n"
    job_id = end_a_job(user, settings, tmp_path)
    (delivery,) = answer("webhook", "deliveries", "--limit", "1")["deliveries"]
    assert (delivery["event"], delivery["job_id"], delivery["status"]) == ("segmentation.cancelled", job_id, "pending")
    assert all(word in said("webhook", "deliveries") for word in ("segmentation.cancelled", job_id, "pending"))

    assert invoke("webhook", "delete").exit_code == 1  # nobody answers the question
    assert user.webhook().url == URL
    assert answer("webhook", "delete", "--yes") == {"deleted": True}
    assert answer("webhook", "show", code=2)["error"]["code"] == "webhook_not_found"

    told = answer("quotas")
    assert told == user.quotas().model_dump() and told["images"]["used"] == 1
    lines = said("quotas").splitlines()
    assert lines[1].split() == ["photos", "1", f"{settings.quota_images:,}"]
    assert len(lines) == 4
