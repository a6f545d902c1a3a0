"""`personalseg users …`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.console import AsJson, errors, require_somebody_to_ask, stop
from app.cli.operations.console import operating, show, show_list

users = typer.Typer(help="Users: list, show, erase. Acts on the database of the settings.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(help="The user's id or external id.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Most lines.")]


@users.command("list")
def list_users(limit: Limit = 50, as_json: AsJson = False) -> None:
    """The newest users, with their photos.

    Example:

      personalseg users list --limit 100 --json
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        show_list(service.list_users(operator, limit=limit), ("id", "external_id", "photos", "bytes", "created_at"), as_json=as_json)


@users.command("show")
def show_user(user: UserName, as_json: AsJson = False) -> None:
    """One user: photos, model, newest tokens and jobs.

    Example:

      personalseg users show ada
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        show(service.show_user(operator, user), as_json=as_json)


@users.command("erase")
def erase_user(
    user: UserName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove everything of a user: rows, photos, masks, models, running jobs. There is no way back.

    Example:

      personalseg users erase ada
    """
    from app.operations import service

    with operating(as_json=as_json) as operator:
        found = service.show_user(operator, user)
        if not yes:
            require_somebody_to_ask(as_json)
            typed = typer.prompt(f"This erases {found['images']} photos and everything made of them. Type the user's id to go on", err=True)
            if typed != found["id"]:
                stop("That is not the user's id; nothing was erased.", code="not_confirmed")
        erasure = service.erase_user(operator, found["id"])
        if erasure["finished_at"] is None:
            errors().print(
                "Not everything is removed yet (the report says what is): a worker finishes it, once Redis and the storage answer."
            )
        show(erasure, as_json=as_json)
