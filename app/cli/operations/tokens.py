"""`personalseg tokens …`."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.console import AsJson, stop
from app.cli.operations.console import operating, show, show_list
from app.cli.operations.users import Limit

tokens = typer.Typer(help="Tokens: list, create, revoke. Acts on the database of the settings.", no_args_is_help=True)

OfUser = Annotated[str | None, typer.Option("--user", help="The user's id or external id.")]
OfService = Annotated[bool, typer.Option("--service", help="Of an application's back end, which acts for all users.")]


@tokens.command("list")
def list_tokens(user: OfUser = None, service: OfService = False, limit: Limit = 50, as_json: AsJson = False) -> None:
    """The newest tokens without their secrets; of everybody unless told whose.

    Example:

      personalseg tokens list --service
    """
    from app.operations import service as operations

    with operating(as_json=as_json) as operator:
        found = operations.list_tokens(operator, user=user, service=service, limit=limit)
        show_list(found, ("id", "kind", "prefix", "user_id", "last_used_at", "expires_at", "revoked_at"), as_json=as_json)


@tokens.command("create")
def create_token(
    user: OfUser = None,
    service: OfService = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="May only read; for a user's token.")] = False,
    expires_in_days: Annotated[
        int | None, typer.Option("--expires-in-days", min=1, max=3650, help="Without it the token never expires.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A new token, for --user NAME or for a --service; its text is shown this once.

    Examples:

      personalseg tokens create --service

      personalseg tokens create --user ada --read-only --expires-in-days 30 --json
    """
    from app.operations import service as operations

    if (user is None) != service:
        stop("Say whose token it is: --user NAME or --service.", as_json=as_json)
    if read_only and service:
        stop("A service's token cannot be read-only.", as_json=as_json)
    with operating(as_json=as_json) as operator:
        show(operations.create_token(operator, user=user, read_only=read_only, expires_in_days=expires_in_days), as_json=as_json)


@tokens.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(help="The token's id, or its prefix as `list` shows it; never the token itself.")],
    as_json: AsJson = False,
) -> None:
    """Make a token invalid from now on.

    Example:

      personalseg tokens revoke 01a20534-60a0-75c6-9b2f-3a00f4a2afe9
    """
    from app.operations import service as operations

    with operating(as_json=as_json) as operator:
        show(operations.revoke_token(operator, token), as_json=as_json)
