"""`personalseg login`, `settings`, `webhook`, `quotas` and others against a running API: what they change, say, and refuse."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from app import auth
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
    assert answer("webhook", "delete", code=2)["error"]["code"] == "not_confirmed"
    assert user.webhook().url == URL
    assert answer("webhook", "delete", "--yes") == {"deleted": True}
    assert answer("webhook", "show", code=2)["error"]["code"] == "webhook_not_found"

    told = answer("quotas")
    assert told == user.quotas().model_dump() and told["images"]["used"] == 1
    lines = said("quotas").splitlines()
    assert lines[1].split() == ["photos", "1", f"{settings.quota_images:,}"]
    assert len(lines) == 4


def test_a_users_token_names_its_user(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSONALSEG_USER")
    assert answer("status", code=3)["user"]["id"] == user.user_id  # 3: no worker is there
    assert answer("models", "list") == {"models": []}
    with Client.logged_in() as me:
        assert me.images() == []
    monkeypatch.setenv("PERSONALSEG_TOKEN", user.create_token(scope="read_only").token or "")
    assert answer("quotas")["images"]["used"] == 0
    monkeypatch.setenv("PERSONALSEG_TOKEN", "pseg_usr_" + "x" * 49)
    assert answer("status", code=2)["error"]["code"] == "unauthorized"


def test_the_environment_names_a_user_by_id(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALSEG_USER", "bob")
    error = answer("quotas", code=2)["error"]
    assert error["code"] == "bad_user"
    assert error["message"].startswith("PERSONALSEG_USER is 'bob' and must be the id of a user") and "login --user" in error["message"]
    monkeypatch.setenv("PERSONALSEG_USER", str(user.user_id).upper())
    assert answer("quotas")["images"]["used"] == 0


def test_login_by_any_name_of_a_user(user: Client, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TOKEN", "USER"):
        monkeypatch.delenv(f"PERSONALSEG_{name}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    database = Database(settings.database_url)
    with database.write() as session:
        token = auth.create_token(session, None)[1]
    database.close()
    file = tmp_path / "service-token"
    file.write_text(token + "\n")

    def login(*arguments: str, code: int = 0) -> Any:
        return answer("login", f"{user.base_url}/v1", "--token-file", str(file), *arguments, code=code)

    made = login("--new-user", "ann")
    assert made["url"] == user.base_url
    again = login("--new-user", "ann", code=2)["error"]
    assert again["code"] == "external_id_taken" and "--user ann" in again["message"]
    assert login("--user", "ann")["user_id"] == login("--user", made["user_id"])["user_id"] == made["user_id"]
    assert answer("status", code=3)["user"]["external_id"] == "ann"
    for name in ("01890000-0000-7000-8000-00000000000a", "0123456789abcdef0123456789abcdef"):  # as applications name theirs
        assert login("--user", name, code=2)["error"]["code"] == "user_not_found"
        made = login("--new-user", name)
        assert login("--user", name)["user_id"] == made["user_id"]
    assert login("--user", "bob", code=2)["error"]["code"] == "user_not_found"
    assert answer("login", user.base_url, "--token-file", str(tmp_path / "none"), code=2)["error"]["code"] == "file_error"
    assert answer("login", "127.0.0.1", "--token-file", str(file), code=2)["error"]["code"] == "bad_url"
    (tmp_path / "empty").write_text("\n")
    assert answer("login", user.base_url, "--token-file", str(tmp_path / "empty"), code=2)["error"]["code"] == "bad_token"
    (tmp_path / "powershell").write_text("pseg_usr_x\n", "utf-16")
    assert answer("login", user.base_url, "--token-file", str(tmp_path / "powershell"), code=2)["error"]["code"] == "bad_token"


def test_a_folder_that_cannot_be_one_is_told_before_any_work(user: Client, tmp_path: Path) -> None:
    file = tmp_path / "one.jpg"
    file.write_bytes(jpeg(seed=1))
    user.upload(file)
    assert answer("segment", "-o", str(file), code=2)["error"]["code"] == "bad_folder"
    assert answer("export", "-o", str(file / "masks.zip"), code=2)["error"]["code"] == "bad_folder"
    assert list(user.jobs("segmentation")) == []


def test_masks_replace_no_photo(user: Client, tmp_path: Path) -> None:
    photo = tmp_path / "scan.png"
    Image.new("RGB", (40, 30), (10, 200, 10)).save(photo)
    before = photo.read_bytes()
    user.upload(photo)
    error = answer("segment", "-o", str(tmp_path), code=2)["error"]
    assert error["code"] == "would_overwrite" and "scan.png" in error["message"]
    assert photo.read_bytes() == before
    assert list(user.jobs("segmentation")) == [], "told before any work is done"


def test_with_json_nobody_is_asked(user: Client) -> None:
    assert answer("models", "delete", "1", code=2)["error"]["code"] == "not_confirmed"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_file_name_that_is_no_text_spoils_no_other(user: Client, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in ((b"a.jpg", 1), (b"caf\xe9.jpg", 2), (b"z.jpg", 3)):
        (folder / os.fsdecode(name)).write_bytes(jpeg(seed=seed))
    (folder / os.fsdecode(b"b\xe9.jpg")).write_bytes(b"no photo")
    told = answer("upload", str(folder), code=1)
    assert (told["stored"], told["rejected"]) == (3, 1)
    assert sorted(image.filename for image in user.images()) == ["a.jpg", "caf\ufffd.jpg", "z.jpg"]
    assert "b\ufffd.jpg" in invoke("upload", str(folder)).stdout


def test_a_zip_by_the_name_of_a_photo_blocks_no_folder(user: Client, tmp_path: Path) -> None:
    (folder := tmp_path / "photos").mkdir()
    for index in range(10):
        (folder / f"{index:02}.jpg").write_bytes(jpeg(seed=index))
    with zipfile.ZipFile(folder / "05.jpg", "w") as archive:
        for seed in (20, 21):
            archive.writestr(f"{seed}.jpg", jpeg(seed=seed))
    told = answer("upload", str(folder))
    assert (told["stored"], told["rejected"], len(told["files"])) == (11, 0, 11)
    again = answer("upload", str(folder))
    assert (again["stored"], again["duplicate"]) == (0, 11)
    assert answer("upload", str(folder / "05.jpg"))["duplicate"] == 2
