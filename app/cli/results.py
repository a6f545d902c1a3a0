"""`personalseg models …` and `personalseg export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from app.cli.console import AsJson, failures, print_json, require_folder, require_somebody_to_ask, stop
from app.client import Client, ExportFormat

models = typer.Typer(help="The versions of your personal model.", no_args_is_help=True)

Version = Annotated[int, typer.Argument(min=1, help="A version; `personalseg models list` shows them.")]


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Every version: its base, its size, whether it is in use, and what the guard said.

    Examples:

      personalseg models list

      personalseg models list --json
    """
    with failures(as_json), Client.logged_in() as client:
        found = client.models()
    if as_json:
        print_json({"models": [model.model_dump() for model in found]})
        return
    if not found:
        typer.echo("There is no personal model yet: `personalseg adapt` makes one.")
        return
    table = Table("version", "base", "kB", "in use", "verdict", box=None, pad_edge=False)
    for model in found:
        said = escape(model.sentence.removeprefix("The personal model is in use: "))  # so it was when it was made
        row = (str(model.version), model.base, f"{model.byte_size / 1000:.0f}", "yes" if model.active else "", said)
        table.add_row(*row)
    Console(highlight=False).print(table)


@models.command("activate")
def activate_model(version: Version, as_json: AsJson = False) -> None:
    """Put a version in use, e.g. an older one that you liked better.

    Example:

      personalseg models activate 2
    """
    with failures(as_json), Client.logged_in() as client:
        model = client.activate(version)
    if as_json:
        print_json(model.model_dump())
    else:
        typer.echo(f"Personal model {model.version} is in use.")


@models.command("delete")
def delete_model(
    version: Version,
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop a version and its masks. Where it is the one in use, the base serves from then on.

    Example:

      personalseg models delete 3 --yes
    """
    if not sure:
        require_somebody_to_ask(as_json)
        typer.confirm(f"Delete personal model {version} for good?", abort=True, err=True)
    with failures(as_json), Client.logged_in() as client:
        client.delete_model(version)
    if as_json:
        print_json({"deleted": version})
    else:
        typer.echo(f"Personal model {version} is gone.")


def export(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The zip to write.", show_default="personalseg-FORMAT.zip")] = None,
    format: Annotated[ExportFormat, typer.Option(help="What other tools are to read it.")] = "coco",
    model: Annotated[str | None, typer.Option(help="`personal`, `base`, or a version.", show_default="the model in use")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write all masks into one zip, in a format that other tools read.

    Examples:

      personalseg export -o masks.zip

      personalseg export --format labelstudio --model base
    """
    target = out or Path(f"personalseg-{format}.zip")
    with failures(as_json):
        _require_free(target, overwrite, as_json)
    require_folder(target.parent, as_json)
    query: dict[str, str | int] = {} if model is None else {"model": model}
    with failures(as_json), Client.logged_in() as client:
        client.export(target, format=format, **query)
    if as_json:
        print_json({"file": str(target), "byte_size": target.stat().st_size})
    else:
        typer.echo(f"The masks are in {target} ({decimal(target.stat().st_size)}).")


def _require_free(target: Path, overwrite: bool, as_json: bool) -> None:
    if target.is_dir():
        stop(f"{target} is a folder: give the name of the zip to write.", code="is_a_folder", as_json=as_json)
    if not overwrite and (target.exists() or target.is_symlink()):
        stop(f"{target} exists; say --overwrite to replace it.", code="file_exists", as_json=as_json)
