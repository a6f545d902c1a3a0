"""`personalseg sweep`: what one of the workers does every few hours, at once and with a word about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.console import AsJson, print_json
from app.cli.operations.console import operating


def sweep(
    older_than_seconds: Annotated[
        float, typer.Option("--older-than", min=60, help="Seconds. What is younger may belong to an upload or a job that goes on.")
    ] = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Remove from the blob store what no row of the database speaks of.

    Run it on a machine with the service's settings ([bold]PERSONALSEG_DATABASE_URL[/], [bold]PERSONALSEG_STORAGE_URL[/]).
    The service may be running meanwhile.

    Example:

      personalseg sweep --older-than 86400 --json
    """
    from app.sweeping.service import sweep_storage

    with operating(as_json=as_json, checked=False) as operator:
        swept = sweep_storage(operator.database, operator.storage, unfinished_seconds=older_than_seconds, orphan_seconds=older_than_seconds)
    if as_json:
        print_json(asdict(swept))
        return
    typer.echo(
        f"Removed {swept.unfinished} half-written files, {swept.orphans} blobs without a row, {swept.strangers} blobs of erased users."
    )
