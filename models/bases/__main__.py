"""`python -m models.bases`: list the base models, fetch the weights of one, install weights of one's own. `personalseg bases` runs it.

Exit codes: 0 fine · 1 the step failed · 2 the request itself cannot be done (unknown name, wrong option) · 130 Ctrl-C.
With `--json` the answer, or `{"error": {"code", "message"}}`, is one JSON object on the standard output.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.bases import fetch
from models.bases.download import OnBytes
from models.bases.errors import BaseNotAvailable
from models.bases.info import BaseInfo
from models.bases.registry import available_bases, default_base, find_base
from models.types import ModelFileError

EXIT_FAILED, EXIT_CANNOT, EXIT_INTERRUPTED = 1, 2, 130

Name = Annotated[str, typer.Argument(help="A base model's name; `list` shows them.")]
Folder = Annotated[Path | None, typer.Option("--dir", help="Folder of fetched weights.", show_default="the user's cache folder")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]

app = typer.Typer(name="personalseg bases", help="The base models and their weights.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_bases(folder: Folder = None, as_json: AsJson = False) -> None:
    """Every base model: where its weights are, its context, its scores."""
    rows = [_described(info, folder or fetch.default_folder()) for info in available_bases()]
    if as_json:
        typer.echo(json.dumps({"bases": rows}, indent=2))
        return
    console = Console(highlight=False)
    for row in rows:
        scores = ", ".join(f"{key} {value:g}" for key, value in row["scores"].items())
        facts = Table.grid("", "", padding=(0, 2))
        for label, value in (("weights", row["weights"]), ("context", row["context"]), ("scores %", scores), ("licence", row["licence"])):
            facts.add_row(f"  {label}", value or "not measured")
        console.print(f"[bold]{row['name']}[/]{' (default)' if row['is_default'] else ''}: {row['title']}")
        console.print(facts)


@app.command("fetch")
def fetch_base(
    name: Name,
    mirror: Annotated[
        str | None, typer.Option(help="URL of a folder that holds the publisher's file.", show_default="the publisher's")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a base's weights now, so that no job has to wait for them; does nothing where they are there and whole."""
    with _failures(as_json):
        info, where = find_base(name), folder or fetch.default_folder()
        if info.weights is not None:
            _done({"name": name, "weights": "shipped"}, f"{name} ships with the project: there is nothing to fetch.", as_json)
            return
        with _progress(name) as on_bytes:
            receipt = fetch.fetch(info, where, mirror=mirror, on_bytes=on_bytes)
        _done(asdict(receipt), f"The weights of {name} are in {where / receipt.file} ({receipt.byte_size / 1e6:.1f} MB).", as_json)


@app.command()
def install(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The .safetensors file that models.train_base wrote.", exists=True, dir_okay=False)],
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Take weights that you have trained for a base that has none."""
    with _failures(as_json):
        info, where = find_base(name), folder or fetch.default_folder()
        if not info.must_be_trained:
            _fail("base_has_weights", f"{name} has weights of its own; only a base to be trained takes others.", EXIT_CANNOT, as_json)
        receipt = fetch.install(info, where, file)
        _done(asdict(receipt), f"{name} is installed in {where / receipt.file}.", as_json)


def _described(info: BaseInfo, folder: Path) -> dict[str, Any]:
    return {
        "name": info.name,
        "title": info.title,
        "is_default": info == default_base(),
        "weights": _where(info, folder),
        "url": info.published.url if info.published is not None else None,
        "sha256": info.sha256 or None,
        "context": info.context,
        "side": info.side,
        "scores": info.scores,
        "licence": info.licence,
        "classes": list(info.class_names),
    }


def _where(info: BaseInfo, folder: Path) -> str:
    if info.weights is not None:
        return "shipped"
    try:
        present = fetch.is_present(info, folder)
    except BaseNotAvailable as error:
        return str(error)
    if info.published is not None:
        return "fetched" if present else f"fetched on first use ({info.published.byte_size / 1e6:.0f} MB)"
    return "installed" if present else "to be trained"


@contextmanager
def _progress(name: str) -> Iterator[OnBytes]:
    """A bar on the standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def _failures(as_json: bool) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        _fail("unknown_base", f"{error.args[0][0].upper()}{error.args[0][1:]}.", EXIT_CANNOT, as_json)
    except BaseNotAvailable as error:
        _fail(error.code, str(error), EXIT_FAILED, as_json)
    except ModelFileError as error:
        _fail("model_file_invalid", f"The file does not fit: {error}.", EXIT_FAILED, as_json)


def _done(answer: dict[str, Any], sentence: str, as_json: bool) -> None:
    typer.echo(json.dumps(answer, indent=2) if as_json else sentence)


def _fail(code: str, sentence: str, exit_code: int, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": {"code": code, "message": sentence}}, indent=2))
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"personalseg: {sentence}", markup=False)
    raise typer.Exit(exit_code)


if __name__ == "__main__":
    # Also under `app.method_child`: a fetch that is broken off leaves no half file.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
