"""`personalseg`: what people type.

Exit codes: 0 fine · 1 a step failed · 2 the request itself cannot be done (bad folder, port in use, wrong option) ·
130 Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from app.demo.errors import DemoError
from app.demo.run import Options, check_request, run_demo

EXIT_CANNOT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="personalseg",
    help="Segment each user's photos with a model that has adapted itself to that user, without a label.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

bases_app = typer.Typer(help="The base models and their weights.", no_args_is_help=True)
app.add_typer(bases_app, name="bases")

BaseName = Annotated[str, typer.Argument(help="A base model's name; `personalseg bases list` shows them.")]
WeightsDir = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of fetched weights.", show_default="PERSONALSEG_WEIGHTS_DIR, or the user's cache folder"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]


def main() -> None:
    """The entry point of the `personalseg` command."""
    try:
        app()
    except KeyboardInterrupt:
        _errors().print("Stopped.")
        sys.exit(EXIT_INTERRUPTED)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"personalseg {version('personalseg')}")
        except PackageNotFoundError:
            typer.echo("personalseg (not installed as a package)")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def serve() -> None:
    """Run the whole service on this machine: API, queue, database and workers.

    Settings come from the environment: [bold]PERSONALSEG_PORT[/] (8000), [bold]PERSONALSEG_DATA_DIR[/] (./data).
    Ctrl-C stops everything; starting again goes on where it stopped.
    """
    from app import local  # kept out of `--help` and `--version`, which must answer at once
    from app.settings import Settings

    try:
        code = local.serve(Settings())
    except ValidationError as error:
        _stop(_setting_sentence(error))
    except local.LocalError as error:
        _stop(str(error))
    raise typer.Exit(code)


@app.command()
def demo(
    photos: Annotated[Path | None, typer.Argument(help="A folder of photos, nested as you like. Without it: a small sample album.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where masks, overlays and the report go.")] = Path("out"),
    budget_seconds: Annotated[
        float | None,
        typer.Option("--budget", min=1, help="Seconds that the adaptation may take.", show_default="the service's"),
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base model, by name.", show_default="the service's")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all randomness in the adaptation.", show_default="0")] = None,
) -> None:
    """Adapt to a folder of photos and show base and personal masks side by side.

    Starts the whole service in a temporary folder, does everything through its REST API, writes OUT/report.html and
    stops it again.
    """
    # Ended from outside, the demo must still stop its children: SIGTERM is taken like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_request(photos, out)
    except DemoError as error:
        _stop(str(error))

    from app import local

    console = Console()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="personalseg-demo-", ignore_cleanup_errors=True) as data_dir,
            console.status("Starting the service …") as status,
            local.Deployment(Path(data_dir), quiet=True) as deployment,
        ):
            status.stop()  # the progress bars take the terminal over
            code = run_demo(
                photos,
                out,
                base_url=deployment.base_url,
                service_token=deployment.service_token,
                options=Options(budget_seconds, base, seed),
                console=console,
            )
    except (DemoError, local.LocalError) as error:
        _stop(str(error))
    except KeyboardInterrupt:
        _errors().print("Stopped; nothing was written.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(code)


@bases_app.command("list")
def list_bases(folder: WeightsDir = None, as_json: AsJson = False) -> None:
    """Every base model: where its weights are, its context, its scores."""
    _run_bases(["list"], folder, as_json)


@bases_app.command("fetch")
def fetch_base(
    name: BaseName,
    mirror: Annotated[
        str | None, typer.Option(help="URL of a folder that holds the publisher's file.", show_default="the publisher's")
    ] = None,
    folder: WeightsDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a base's weights now, so that no job has to wait for them."""
    _run_bases(["fetch", name, *(["--mirror", mirror] if mirror is not None else [])], folder, as_json)


@bases_app.command("install")
def install_base(
    name: BaseName,
    file: Annotated[Path, typer.Argument(help="The .safetensors file that `python -m models.train_base` wrote.")],
    folder: WeightsDir = None,
    as_json: AsJson = False,
) -> None:
    """Take weights that you have trained for a base that has none."""
    _run_bases(["install", name, str(file)], folder, as_json)


def _run_bases(arguments: list[str], folder: Path | None, as_json: bool) -> NoReturn:
    from app.bases import WorkerExtraMissing, run_bases
    from app.settings import Settings

    options = [*(["--dir", str(folder)] if folder is not None else []), *(["--json"] if as_json else [])]
    try:
        raise typer.Exit(run_bases([*arguments, *options], Settings()))
    except ValidationError as error:
        _stop(_setting_sentence(error))
    except WorkerExtraMissing as error:
        _stop(str(error))


def _setting_sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = "_".join(str(part) for part in first["loc"]).upper()
    return f"The setting PERSONALSEG_{name} is not usable ({first['msg']}): correct that environment variable."


def _errors() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)


def _stop(sentence: str) -> NoReturn:
    _errors().print(f"[bold red]personalseg:[/] {escape(sentence)}")
    raise typer.Exit(EXIT_CANNOT)


if __name__ == "__main__":
    main()
