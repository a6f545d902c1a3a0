"""How the command line speaks: exit codes, sentences on the standard error, one JSON object on the standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

EXIT_FINE = 0
EXIT_FAILED = 1
EXIT_CANNOT = 2
EXIT_INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
WeightsDir = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of fetched weights.", show_default="PERSONALSEG_WEIGHTS_DIR, or the user's cache folder"),
]


def errors() -> Console:
    """The standard error; sentences are not broken into lines."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def stop(sentence: str, *, code: str = "bad_request", exit_code: int = EXIT_CANNOT, as_json: bool = False) -> NoReturn:
    """Say why in one sentence and end; with `as_json` also as `{"error": {"code", "message"}}`."""
    if as_json:
        print_json({"error": {"code": code, "message": sentence}})
    errors().print(f"[bold red]personalseg:[/] {escape(sentence)}")
    raise typer.Exit(exit_code)


def print_json(document: Any) -> None:
    """One JSON document on the standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def setting_sentence(error: ValidationError) -> str:
    """Which environment variable is wrong, and why."""
    first = error.errors()[0]
    name = "_".join(str(part) for part in first["loc"]).upper()
    return f"The setting PERSONALSEG_{name} is not usable ({first['msg']}): correct that environment variable."
