"""`personalseg`: bad requests are one sentence and exit code 2, before anything is started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from app.cli import app
from app.cli.session import _going_on
from app.client import Client


def personalseg(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb", **environment},
        check=False,
    )


def test_version() -> None:
    done = personalseg("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("personalseg 0.")


@pytest.mark.parametrize("arguments", [("adapt", "--json", "--budget", "much"), ("no-such-command", "--json"), ("upload", "--json")])
def test_a_command_that_cannot_be_understood_says_so_in_json_too(arguments: tuple[str, ...]) -> None:
    done = personalseg(*arguments)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 2 and error["code"] == "bad_option" and "Error" in done.stderr
    assert any(word in error["message"] for word in ("--budget", "no-such-command", "folder"))
    plain = personalseg(*(word for word in arguments if word != "--json"))
    assert (plain.returncode, plain.stdout) == (2, "") and "Error" in plain.stderr


def test_a_refusal_of_our_own_is_one_json_document(tmp_path: Path) -> None:
    done = personalseg("upload", str(tmp_path / "nothing"), "--json", HOME=str(tmp_path))
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] != "bad_option"


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command, however deep, by its name."""
    for word, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {word}".strip())
    if not hasattr(command, "commands"):
        yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands(get_command(app))))
def test_each_command_has_json_and_an_example_that_is_one(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    _, _, examples = command.help.partition("Example")
    own = [line.split(f"personalseg {name}", 1)[1] for line in examples.splitlines() if f"personalseg {name}" in line]
    assert own, examples
    known = options | {option for parameter in command.params for option in parameter.secondary_opts}
    for arguments in own:
        words = arguments.split(" | ")[0].split(" || ")[0].split()
        asked = {word.split("=")[0] for word in words if word.startswith("-") and word.strip("-")}
        assert asked <= known, arguments


def test_a_shell_completes_commands_and_options() -> None:
    """In a real bash: what `--show-completion` prints is evaluated, and the function that it registers is asked."""
    script = """
        set -e
        eval "$(personalseg --show-completion)"
        ask() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _personalseg_completion personalseg "${!#}" personalseg
            echo "${COMPREPLY[*]}"
        }
        complete -p personalseg
        ask personalseg ad
        ask personalseg adapt --wa
    """
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, env={"PATH": path}, check=False)
    assert done.returncode == 0, done.stderr
    registered, command, option = done.stdout.splitlines()
    assert "-F _personalseg_completion" in registered
    assert (command, option) == ("adapt", "--watch")


@pytest.mark.parametrize("command", [(), ("demo",), ("serve",)])
def test_help_tells_the_commands(command: tuple[str, ...]) -> None:
    done = personalseg(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_bad_folders_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("precious")
    for arguments, sentence in (
        (("demo", str(tmp_path / "missing")), "is not a folder"),
        (("demo", str(tmp_path)), "No photo was found"),
        (("demo", "--out", str(tmp_path)), "thesis.docx, which is not from an earlier run"),
    ):
        done = personalseg(*arguments)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_an_export_replaces_no_file_unasked(tmp_path: Path) -> None:
    (tmp_path / "masks.zip").write_text("precious")
    for out, code, sentence in (
        (tmp_path / "masks.zip", "file_exists", "masks.zip exists; say --overwrite to replace it."),
        (tmp_path, "is_a_folder", "is a folder: give the name of the zip to write."),
    ):
        done = personalseg("export", "--json", "-o", str(out))
        assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, code)
        assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "masks.zip").read_text() == "precious"
    not_asked = personalseg("export", "--json", "--overwrite", "-o", str(tmp_path / "masks.zip"), HOME=str(tmp_path))
    assert json.loads(not_asked.stdout)["error"]["code"] == "not_logged_in"


def test_a_bad_setting_is_one_sentence() -> None:
    done = personalseg("serve", PERSONALSEG_PORT="a lot")
    assert done.returncode == 2
    assert "PERSONALSEG_PORT" in done.stderr
    assert done.stderr.count("\n") == 1


def test_status_tells_of_a_long_job_behind_a_newer_one_that_has_ended() -> None:
    """A long segmentation gives way to newer ones, which end before it."""
    jobs = {"segmentations": [{"id": "one-photo", "status": "succeeded"}, {"id": "gallery", "status": "running"}], "adaptations": []}

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"items": jobs[request.url.path.rsplit("/", 1)[1]], "next_cursor": None})

    with Client(
        "http://test", "pseg_usr_x", user_id="01890000-0000-7000-8000-000000000000", transport=httpx.MockTransport(handler)
    ) as client:
        assert [job.id for job in _going_on(client)] == ["gallery"]


class LargeGallery:
    """A service that takes two photos a job, and has done it when it is asked; three photos. With `interrupted`, Ctrl-C comes first."""

    ids = tuple(f"01890000-0000-7000-8000-00000000000{digit}" for digit in range(3))

    def __init__(self, *, interrupted: bool = False) -> None:
        self.wishes: list[dict[str, Any]] = []
        self._interrupted = interrupted

    def __call__(self, request: httpx.Request) -> httpx.Response:
        room = request.url.path.split("/")[4]
        if room == "images":
            return httpx.Response(
                200, json={"items": [{"id": image_id, "filename": "a.jpg"} for image_id in self.ids], "next_cursor": None}
            )
        if request.method == "POST":
            wish = json.loads(request.content)
            if wish["image_ids"] == "all":
                return httpx.Response(422, json={"code": "too_many_images", "most": 2})
            self.wishes.append(wish)
        job = {"id": self.ids[len(self.wishes) - 1], "base": "b", "model_version": 4, "percent": 100}
        if self._interrupted and request.method == "GET":
            self._interrupted = False
            return httpx.Response(200, json={**job, "status": "running"})
        items = [{"image_id": image_id, "status": "done"} for image_id in self.wishes[-1]["image_ids"]]
        return httpx.Response(200, json={**job, "status": "succeeded", "items": items, "item_counts": {"done": len(items)}})


def segment_with(service: LargeGallery, monkeypatch: pytest.MonkeyPatch, *arguments: str, sleep: Any = lambda seconds: None) -> Any:
    user = "01890000-0000-7000-8000-000000000000"
    client = Client("http://test", "pseg_usr_x", user_id=user, transport=httpx.MockTransport(service), sleep=sleep)
    monkeypatch.setattr(Client, "logged_in", lambda: client)
    return CliRunner().invoke(app, ["segment", *arguments])


def test_a_gallery_of_more_photos_than_one_job_takes_is_segmented_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    service = LargeGallery()
    done = segment_with(service, monkeypatch, "--adapt", "always", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["status"], told["jobs"]) == (0, "succeeded", list(service.ids[:2]))
    assert [item["image_id"] for item in told["items"]] == list(service.ids) and told["item_counts"]["done"] == 3
    first, second = service.wishes
    assert (first["image_ids"], first["model"], first["adapt"]) == (list(service.ids[:2]), "personal", "always")
    assert (second["image_ids"], second["model"], second["adapt"]) == ([service.ids[2]], 4, "never")
    assert segment_with(LargeGallery(), monkeypatch).stdout == "3 photos segmented by personal model 4.\n"


def test_ctrl_c_says_what_of_a_large_gallery_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    done = segment_with(LargeGallery(interrupted=True), monkeypatch, sleep=interrupt)
    assert done.exit_code == 130
    assert "goes on without you" in done.stderr and "1 photos are not begun: the same command goes on from there." in done.stderr
