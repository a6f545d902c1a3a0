"""`personalseg serve` and `personalseg demo`: the embedded deployment on this machine."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.cli.console import EXIT_INTERRUPTED, AsJson, print_json, say_stopped, stop
from app.demo.errors import DemoError
from app.demo.result import DemoResult
from app.demo.run import Options, check_request, run_demo
from app.interrupts import end_as_by_ctrl_c
from app.setting_errors import BAD_SETTING, setting_sentence

if TYPE_CHECKING:
    from app.local import Deployment


OpenPage = Annotated[bool, typer.Option("--open", help="Open the page in the browser, signed in.")]


def serve(is_opening: OpenPage = False, as_json: AsJson = False) -> None:
    """Run the whole service on this machine: API, queue, database and workers.

    Settings come from the environment: [bold]PERSONALSEG_PORT[/] (8000), [bold]PERSONALSEG_DATA_DIR[/] (./data).
    Ctrl-C stops everything; starting again goes on where it stopped.

    Examples:

      personalseg serve --open

      PERSONALSEG_PORT=9000 PERSONALSEG_DATA_DIR=/srv/photos personalseg serve --json
    """
    from app import local  # kept out of `--help` and `--version`, which must answer at once
    from app.settings import Settings

    # Photos, masks and the database are for nobody else on this machine.
    os.umask(0o077)
    try:
        code = local.serve(Settings(), is_opening=is_opening, as_json=as_json)
    except BAD_SETTING as error:
        stop(setting_sentence(error), code="bad_setting", as_json=as_json)
    except local.LocalError as error:
        stop(str(error), code="cannot_start", as_json=as_json)
    raise typer.Exit(code)


def demo(
    photos: Annotated[
        Path | None, typer.Argument(help="A folder of photos, nested (links to folders are not followed). Without it: a sample album.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where masks, overlays and the report go.")] = Path("out"),
    budget_seconds: Annotated[
        float | None,
        typer.Option("--budget", min=1, help="Seconds that the adaptation may take.", show_default="the service's"),
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base model, by name.", show_default="the service's")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the adaptation's random numbers.", show_default="0")] = None,
    is_opening: OpenPage = False,
    as_json: AsJson = False,
) -> None:
    """Adapt to a folder of photos and show base and personal masks side by side.

    Starts the whole service in a temporary folder, does everything through its REST API, writes OUT/report.html and
    stops it again; with [bold]--open[/] it first shows the photos in the page, until Ctrl-C.

    Examples:

      personalseg demo

      personalseg demo ~/Pictures/2024 --out masks --open
    """
    end_as_by_ctrl_c()  # ended from outside, the demo must still stop its children
    try:
        check_request(photos, out)
    except DemoError as error:
        stop(str(error), as_json=as_json)

    from app import local

    console = Console(stderr=as_json)
    tokens: list[str] = []
    results: list[DemoResult] = []
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
                on_user=lambda user: tokens.append(user.token or ""),
                on_result=results.append,
            )
            if as_json:
                _tell(results, out)
            if is_opening and tokens:
                _show_page(deployment, tokens[0], console)
    except (DemoError, local.LocalError) as error:
        stop(str(error), code="cannot_start", as_json=as_json)
    except KeyboardInterrupt:
        say_stopped()
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(code)


def _tell(results: list[DemoResult], out: Path) -> None:
    if results:
        print_json({"out": str(out.resolve()), **results[0].as_json()})
    else:
        print_json({"error": {"code": "demo_stopped", "message": "The demo stopped: the standard error says why."}})


def _show_page(deployment: Deployment, token: str, console: Console) -> None:
    """Show the demo's user in the page until Ctrl-C."""
    from app.page.opening import address_with, open_in_browser

    address = address_with(deployment.base_url, token)
    if not open_in_browser(address, deployment.data_dir):
        console.print(f"The page, signed in: {address}", soft_wrap=True, highlight=False)
    console.print("The page stays until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        deployment.wait()
