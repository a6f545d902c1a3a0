"""The site's reference is made from the code, and nothing in the code is undocumented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

import app.cli
from app.settings import Settings

pytest.importorskip("mkdocs")
from tools import docs_site, settings_page

ROOT = Path(__file__).parent.parent.parent


def all_commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for child in getattr(command, "commands", {}).values():
        yield from all_commands(child, f"{name} {child.name}")


COMMANDS = dict(all_commands(typer.main.get_command(app.cli.app), "personalseg"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description and description.endswith((".", "…"))
    assert f"`PERSONALSEG_{name.upper()}`" in settings_page.table()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, name
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} says nothing of {parameter.name}"
    if name != "personalseg":
        assert f"# `{name}`" in docs_site.commands()


def test_every_route_is_described() -> None:
    document = docs_site.openapi()
    json.dumps(document)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary") and operation.get("description"), f"{method.upper()} {path}"
            assert f"`{method.upper()} {path}`" in docs_site.routes_table()


def test_the_site_is_built_without_a_warning_and_asks_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    recipe = re.search(r"^docs:.*\n\t\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe, "what `make docs` does"
    command = [sys.executable, *recipe[1].split(), "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 12
    for page in pages:
        text = page.read_text("utf-8")
        assert "made from the code by `make docs`" not in text, page
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", text):
            assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag), f"{page}: {tag}"
    assert "PERSONALSEG_DATA_DIR" in (tmp_path / "reference/settings/index.html").read_text("utf-8")
    assert "rotate_token" in (tmp_path / "reference/python/index.html").read_text("utf-8")
