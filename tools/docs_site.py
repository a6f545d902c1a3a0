"""mkdocs hooks: what the site's reference holds is made from the code at every build, so that none of it can be stale."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

import app.cli
import app.client.errors
import app.errors
from app.main import create_app
from app.settings import Settings
from tools import settings_page

_MARK = re.compile(r"<!-- made from the code by `make docs`: (\w+) -->")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what docs/ holds and the navigation does not name."""
    docs = Path(config.docs_dir)
    named = set(re.findall(r"[\w/.-]+\.md", json.dumps(config.nav)))
    others = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    decisions = [path for path in others if path.startswith("decisions/")]
    more = [path for path in others if path not in named and path not in decisions]
    assert config.nav is not None
    config.nav += [{"Decisions": decisions}, *([{"More": more}] if more else [])]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the API's contract."""
    files.append(File.generated(config, "reference/openapi.json", content=json.dumps(openapi(), ensure_ascii=False)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in the place of each mark what it names."""
    makers: dict[str, Callable[[], str]] = {
        "settings": settings_page.table,
        "commands": commands,
        "routes": routes_table,
        "errors": error_trees,
    }
    return _MARK.sub(lambda mark: makers[mark.group(1)](), markdown)


@cache
def openapi() -> dict[str, Any]:
    """The contract of an API with default settings, whatever this machine's environment says."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    with tempfile.TemporaryDirectory() as folder:
        here = {"database_url": f"sqlite:///{folder}/none.sqlite3", "storage_url": f"file://{folder}"}
        document: dict[str, Any] = create_app(Settings.model_construct(**defaults | here)).openapi()
    return document


@cache
def commands() -> str:
    """Every command with its arguments, options and examples."""
    command = typer.main.get_command(app.cli.app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="personalseg")
    # Its headings begin at the top level, which is the page's own.
    return re.sub(r"^#", "##", re.sub(r"^# .*\n", "", text, count=1), flags=re.M)


def routes_table() -> str:
    """Every route in one line."""
    return "\n".join(["| route | does |", "|---|---|", *_routes(openapi())])


def _routes(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"| `{method.upper()} {path}` | {operation.get('summary', '')} |"


def error_trees() -> str:
    """The API's errors and the client's, as their modules draw them."""
    client = re.sub(r"^    ", "", app.client.errors.__doc__ or "", flags=re.M)
    return f"## Of the API\n\n```text\n{app.errors.__doc__}```\n\n## Of the Python client\n\n```text\n{client}```\n"
