"""The command line against a real deployment: the whole journey, and what it says and answers when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.client import Client
from app.local import Deployment
from tests.conftest import free_port
from tests.e2e.conftest import within
from tests.interrupts import heed_interrupts

TIMEOUT_SECONDS = 240


class Terminal:
    """Runs commands with a home folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERSONALSEG_", "XDG_"))}
        self.environment = kept | {"HOME": str(home), "COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
            preexec_fn=heed_interrupts,
        )

    def __call__(self, *arguments: object, **environment: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        return process.returncode, out, err

    def json(self, *arguments: object, code: int = 0, **environment: str) -> Any:
        """The answer of a command that ends with this exit code."""
        ended, out, err = self(*arguments, "--json", **environment)
        assert ended == code, out + err
        return json.loads(out)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Somebody who has not logged in."""
    return Terminal(tmp_path / "home")


@pytest.fixture
def ann(terminal: Terminal, deployment: Deployment) -> Terminal:
    """A new user, logged in."""
    token = deployment.data_dir / "service-token"
    code, _out, err = terminal("login", deployment.base_url, "--token-file", token, "--new-user", f"ann {terminal.home}")
    assert code == 0, err
    return terminal


@pytest.fixture
def folder(photos: list[Path], tmp_path: Path) -> Path:
    """The photos, one of them nested, and a file that is none."""
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    for index, photo in enumerate(photos):
        name = f"trip/{photo.name}" if index == 0 else photo.name
        (tmp_path / "photos" / name).write_bytes(photo.read_bytes())
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    return tmp_path / "photos"


def test_the_whole_journey(ann: Terminal, deployment: Deployment, folder: Path, photos: list[Path], tmp_path: Path) -> None:
    login = ann.home / ".config" / "personalseg" / "login.json"
    assert stat.S_IMODE(login.stat().st_mode) == 0o600
    assert deployment.service_token not in login.read_text()

    code, out, err = ann("upload", folder)
    assert code == 1 and f"{len(photos)} stored, 0 there already, 1 rejected." in out
    assert "broken.jpg" in out and "not_an_image" in out
    again = ann.json("upload", folder, code=1)
    assert (again["stored"], again["duplicate"], again["rejected"]) == (0, len(photos), 1)

    code, out, err = ann("adapt", "--watch", "--budget", 20)
    assert code == 0, err
    models = ann.json("models", "list")["models"]
    assert len(models) <= 1 and all(model["active"] for model in models)

    code, out, err = ann("segment", "-o", tmp_path / "masks")
    assert code == 0, err
    written = {path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("[!.]*.png")}
    assert written == {f"{'trip/' * (index == 0)}{photo.stem}.png" for index, photo in enumerate(photos)}
    with Image.open(tmp_path / "masks" / "trip" / f"{photos[0].stem}.png") as mask, Image.open(photos[0]) as photo:
        assert mask.mode == "P" and mask.size == photo.size

    again = ann.json("segment", "-o", tmp_path / "masks")
    assert len(again["written"]) == len(photos), "its own masks are replaced"
    other = ann.json("segment", "--format", "overlay", "-o", tmp_path / "masks", code=2)
    assert other["error"]["code"] == "would_overwrite"

    before = ann.json("segment", "--model", "base", "--format", "confidence", "-o", tmp_path / "sure")
    assert before["status"] == "succeeded" and len(before["written"]) == len(photos)
    with Image.open(next(iter(before["written"].values()))) as confidence:
        assert confidence.mode == "L" and np.asarray(confidence).max() > 0

    exported = ann.json("export", "--format", "labelstudio", "-o", tmp_path / "tasks.zip")
    assert exported["byte_size"] == (tmp_path / "tasks.zip").stat().st_size
    assert len(json.loads(zipfile.ZipFile(tmp_path / "tasks.zip").read("tasks.json"))) == len(photos)
    again = ann.json("export", "-o", tmp_path / "tasks.zip", code=2)
    assert again["error"]["code"] == "file_exists"
    assert ann.json("export", "--overwrite", "-o", tmp_path / "tasks.zip")["file"] == str(tmp_path / "tasks.zip")

    status = ann.json("status")
    assert status["ready"] and status["user"]["images"] == len(photos) and status["jobs"] == []
    assert (status["user"]["active_model_version"] is not None) == bool(models)
    for model in models:
        assert ann.json("models", "activate", model["version"])["active"]
        assert ann.json("models", "delete", model["version"], "--yes") == {"deleted": model["version"]}
    assert ann.json("logout") == {"logged_out": True}
    assert ann.json("status", code=2)["error"]["code"] == "not_logged_in"


def test_ctrl_c_ends_the_watching_and_not_the_work(ann: Terminal, folder: Path) -> None:
    ann("upload", folder)
    watching = ann.start("adapt", "--watch", "--budget", 60)
    assert within(60, lambda: bool(ann.json("status")["jobs"]))
    time.sleep(0.5)
    watching.send_signal(signal.SIGINT)
    _out, err = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert "goes on without you" in err and "Traceback" not in err
    (job,) = ann.json("status")["jobs"]
    assert job["kind"] == "adaptation"
    assert ann.json("cancel") == {"cancelled": [job["id"]]}
    assert within(60, lambda: not ann.json("status")["jobs"])


def test_a_photo_in_a_zip(ann: Terminal, folder: Path, photos: list[Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        for photo in photos:
            archive.write(photo, f"album/{photo.name}")
    assert ann.json("upload", tmp_path / "album.zip")["stored"] == len(photos)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("activate", "7"), "model_not_found", "no model of version 7"),
        (("delete", "7", "--yes"), "model_not_found", "no model of version 7"),
    ],
)
def test_unknown_versions(ann: Terminal, arguments: tuple[str, ...], code: str, says: str) -> None:
    error = ann.json("models", *arguments, code=2)["error"]
    assert error["code"] == code and says in error["message"]


def test_what_cannot_be_done_is_one_sentence(ann: Terminal, tmp_path: Path) -> None:
    for arguments, exit_code, says in (
        (("adapt",), 2, "no photos"),
        (("export",), 2, "no photos"),
        (("upload", tmp_path / "nowhere"), 2, "does not exist"),
        (("upload", ann.home), 2, "No photo was found"),
        (("segment", "--model", "best"), 2, "say `personal`, `base` or a version"),
        (("login", "ftp://example.org"), 2, "is not an address"),
    ):
        code, out, err = ann(*arguments)
        assert (code, err.count("\n")) == (exit_code, 1), err
        assert says in err and out == ""


def test_the_environment_wins_and_wrong_logins_are_told(ann: Terminal, deployment: Deployment) -> None:
    wrong = ann.json("status", code=2, PERSONALSEG_URL=deployment.base_url, PERSONALSEG_TOKEN="pseg_usr_wrong")
    assert wrong["error"]["code"] == "unauthorized" and "personalseg login" in wrong["error"]["message"]
    nobody = ann.json("adapt", code=2, PERSONALSEG_URL=deployment.base_url, PERSONALSEG_TOKEN=deployment.service_token)
    assert nobody["error"]["code"] == "no_user"
    with Client(deployment.base_url, deployment.service_token) as service:
        user = service.create_user()
    chosen = ann.json("status", PERSONALSEG_URL=deployment.base_url, PERSONALSEG_TOKEN=deployment.service_token, PERSONALSEG_USER=user.id)
    assert chosen["user"]["id"] == user.id
    assert ann.json("status")["user"]["id"] != user.id
    gone = ann.json("status", code=3, PERSONALSEG_URL=f"http://127.0.0.1:{free_port()}", PERSONALSEG_TOKEN="x")
    assert gone["error"]["code"] == "no_answer"


def test_personalize_without_a_service(terminal: Terminal, folder: Path, photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = terminal.json("personalize", folder, "-o", out, "--base", "espnetv2_tiny", "--budget", 20, code=1)
    assert [Path(entry["path"]).name for entry in told["rejected"]] == ["broken.jpg"]
    assert len(told["photos"]) == len(photos)
    for entry in told["photos"]:
        with Image.open(entry["path"]) as photo:
            for kind, mode in (("mask", "P"), ("confidence", "L"), ("overlay", "RGB")):
                with Image.open(out / entry[kind]) as picture:
                    assert (picture.mode, picture.size) == (mode, photo.size)
    assert (out / "model.safetensors").exists() == (told["model_file"] is not None)
    assert json.loads((out / "report.json").read_text()) == told
    (out / "mine.txt").write_text("precious")
    assert "mine.txt" in terminal.json("personalize", folder, "-o", out, code=2)["error"]["message"]
    (out / "mine.txt").unlink()
    mask = out / told["photos"][0]["mask"]
    untouched = mask.read_bytes()
    mask.write_bytes(b"corrected by hand")
    assert told["photos"][0]["mask"] in terminal.json("personalize", folder, "-o", out, code=2)["error"]["message"]
    mask.write_bytes(untouched)
    unknown = terminal.json("personalize", folder, "-o", out, "--base", "nope", code=2)
    assert unknown["error"]["code"] == "unknown_base" and (out / "report.json").exists()
