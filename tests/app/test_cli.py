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
