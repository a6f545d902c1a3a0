"""`personalseg`: what people type. One file a group of commands; `console` holds the exit codes.

Exit codes: 0 fine · 1 a step failed (a job, a photo) · 2 the request itself cannot be done (bad folder, port in use, wrong
option, not logged in, refused by the service) · 3 the service does not answer or is not ready · 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from app.cli import account, jobs, local, results, session
from app.cli.bases import bases
from app.cli.console import EXIT_INTERRUPTED, end_with_json, errors
from app.cli.operations import add_operations
from app.cli.personalize import personalize
from app.cli.sweep import sweep
from app.cli.upload import upload

app = typer.Typer(
    name="personalseg",
    help=(
        "Segment each user's photos with a model that has adapted itself to that user, without a label.\n\n"
        "Exit codes: 0 fine, 1 a step failed, 2 the request cannot be done, 3 the service is not there or not ready, 130 Ctrl-C."
    ),
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command()(local.demo)
app.command()(local.serve)
for command in (session.login, session.logout, upload, jobs.adapt, jobs.segment, jobs.cancel, session.status):
    app.command()(command)
app.add_typer(results.models, name="models")
app.command()(results.export)
app.add_typer(account.settings, name="settings")
app.add_typer(account.webhook, name="webhook")
app.command()(account.quotas)
app.command()(personalize)
app.command()(sweep)
app.add_typer(bases, name="bases")
add_operations(app)


def main() -> None:
    """The entry point of the `personalseg` command."""
    try:
        app()
    except SystemExit as end:
        end_with_json(end)
    except KeyboardInterrupt:
        errors().print("Stopped.")
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
