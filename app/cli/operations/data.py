"""`personalseg migrate`, `backup` and `restore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import AsJson, require_somebody_to_ask, stop
from app.cli.operations.console import failures, make_settings, operating, show


def migrate(
    to: Annotated[
        str | None, typer.Option("--to", help="Back to the revision of an earlier version; what later tables and columns hold is lost.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --to: do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to this version's tables. Safe to repeat, and while the version before still runs.

    Examples:

      personalseg migrate

      docker compose run --rm migrate

      personalseg migrate --to 2026_11_22_webhooks
    """
    from app import db

    with failures(as_json=as_json):
        settings = make_settings()
        before = db.current_revision(settings.database_url)
        if to is None:
            db.upgrade(settings.database_url)
        else:
            _require_way_back(before, to, as_json)
            if not yes:
                require_somebody_to_ask(as_json)
                typer.confirm(f"Go back from {before} to {to}? What later tables and columns hold is lost.", abort=True, err=True)
            db.downgrade(settings.database_url, to)
        show({"from": before, "to": to or db.head_revision()}, as_json=as_json)


def _require_way_back(before: str | None, to: str, as_json: bool) -> None:
    from app import db

    earlier = db.revisions_before(before)
    if to not in earlier:
        known = f"there are {', '.join(earlier)}" if earlier else "there is none"
        stop(f"{to} is no revision before {before}: {known}.", code="unknown_revision", as_json=as_json)


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; a tar.")],
    with_blobs: Annotated[bool, typer.Option("--blobs/--no-blobs", help="With photos, masks and models, or the database alone.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Save a SQLite deployment to one file while it runs. (PostgreSQL: pg_dump, see docs/operations.md.)

    Examples:

      personalseg backup /backups/$(date +%F).tar

      personalseg backup rows-only.tar --no-blobs --json
    """
    from app.operations.backup import make_backup

    if file.exists() and not overwrite:
        stop(f"{file} exists; say --overwrite to replace it.", code="file_exists", as_json=as_json)
    if not file.absolute().parent.is_dir():
        stop(f"There is no folder {file.absolute().parent}.", code="no_folder", as_json=as_json)
    with operating(as_json=as_json) as operator:
        show(asdict(make_backup(operator, file.absolute(), with_blobs=with_blobs)), as_json=as_json)


def restore(file: Annotated[Path, typer.Argument(help="A file that `personalseg backup` wrote.")], as_json: AsJson = False) -> None:
    """Bring a backup back into an empty deployment, and migrate it.

    Example:

      PERSONALSEG_DATA_DIR=/srv/new personalseg restore /backups/2026-11-22.tar
    """
    from app.operations.restore import restore as restore_from

    with failures(as_json=as_json):
        show(asdict(restore_from(make_settings(), file)), as_json=as_json)
