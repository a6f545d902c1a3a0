"""`personalseg login`, `logout`, `status`: which service, as whom, and how it is."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from app.cli.console import EXIT_FINE, EXIT_UNAVAILABLE, AsJson, errors, failures, print_json, stop
from app.client import Client, Conflict, Job, NotFound, User
from app.client.login import DEFAULT_URL, URL_VARIABLE, Login, address_of, forget_login, login_path, save_login, token_of
from app.demo.view import describe

_NEWEST = 20
_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def login(
    url: Annotated[str, typer.Argument(help="Where the service listens.", envvar=URL_VARIABLE)] = DEFAULT_URL,
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the token, `-` for the standard input.", show_default="ask for it")
    ] = None,
    user: Annotated[str | None, typer.Option(help="With a service token: the id, or external id, of the user to act for.")] = None,
    new_user: Annotated[
        str | None, typer.Option(help="With a service token: make a user of this name, and keep that user's own token instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a token and remember it, with the service's address, for the other commands.

    The file is readable by you alone; [bold]PERSONALSEG_URL[/], [bold]PERSONALSEG_TOKEN[/] and [bold]PERSONALSEG_USER[/] win over it.

    Examples:

      personalseg login                                                    a user's token, asked for

      personalseg login --token-file data/service-token --new-user ann     against `personalseg serve`

      personalseg login https://photos.example.org --token-file -          from a pipe
    """
    with failures(as_json):
        url = address_of(url)
        _warn_of(url)
        token = _given_token(token_file, as_json)
        with Client(url, token) as client:
            found = _logged_in(client, token, user, new_user, as_json)
        path = save_login(found)
    if as_json:
        print_json({"url": found.url, "user_id": found.user_id, "file": str(path)})
        return
    whom = f"user {found.user_id}" if found.user_id else "the service (choose a user: `login --user NAME`, or the id in PERSONALSEG_USER)"
    typer.echo(f"Logged in to {found.url} as {whom}. Kept in {path}.")


def _warn_of(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOCAL_HOSTS:
        errors().print(f"Warning: {parts.hostname} is asked without encryption; the token and the photos can be read on their way.")


def _given_token(token_file: Path | None, as_json: bool) -> str:
    if token_file is None:
        token = typer.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    else:
        try:
            token = sys.stdin.read() if str(token_file) == "-" else token_file.read_text("utf-8")
        except OSError as error:
            stop(f"{token_file} cannot be read: {error.strerror or error}.", code="file_error", as_json=as_json)
        except UnicodeError:
            advice = "in PowerShell write it with `Out-File -Encoding ascii`."
            stop(f"{token_file} is no text in UTF-8: {advice}", code="bad_token", as_json=as_json)
    return token_of(str(token))


def _logged_in(client: Client, token: str, user: str | None, new_user: str | None, as_json: bool) -> Login:
    me = client.me()
    if me.kind != "service":
        if new_user is not None or user not in {None, me.user_id}:
            stop("Only a service token can choose or make a user.", code="service_token_needed", as_json=as_json)
        return Login(client.base_url, token, me.user_id)
    if new_user is not None:
        made = _made(client, new_user, as_json)
        return Login(client.base_url, made.token or token, made.id)
    return Login(client.base_url, token, None if user is None else _user_named(client, user, as_json))


def _made(client: Client, name: str, as_json: bool) -> User:
    try:
        return client.create_user(name)
    except Conflict as error:
        if error.code != "external_id_taken":
            raise
        stop(f"There is a user {name} already: act for them with `--user {name}`.", code=error.code, as_json=as_json)


def _user_named(client: Client, name: str, as_json: bool) -> str:
    """The id of the user of this id or external id, which may look like an id itself."""
    found = _user_of_id(client, name) or next((user for user in client.users() if user.external_id == name), None)
    if found is None:
        stop(f"There is no user of the id or external id {name!r}.", code="user_not_found", as_json=as_json)
    return found.id


def _user_of_id(client: Client, name: str) -> User | None:
    try:
        return client.for_user(str(UUID(name))).user()
    except (ValueError, NotFound):  # it is no id, or one of nobody
        return None


def logout(as_json: AsJson = False) -> None:
    """Forget the token that `login` keeps. It stays valid: if somebody may have seen it, revoke it (`DELETE …/tokens/ID`).

    Example:

      personalseg logout
    """
    with failures(as_json):
        there = forget_login()
    if as_json:
        print_json({"logged_out": there})
    else:
        typer.echo("Logged out." if there else f"There was no login ({login_path()}).")


def status(as_json: AsJson = False) -> None:
    """Is the service ready, how many photos are there, what is going on, which model is in use.

    Exit code 3 where the service is not ready.

    Examples:

      personalseg status

      personalseg status --json | jq .ready
    """
    with failures(as_json), Client.logged_in() as client:
        ready = client.readiness()
        user = client.user() if client.user_id else None
        if user is None:
            client.me()  # a wrong token is to be told, also where it names nobody
        jobs = _going_on(client) if client.user_id else []
    if as_json:
        print_json(
            {"url": client.base_url, **ready.model_dump(), "user": user and user.model_dump(), "jobs": [job.model_dump() for job in jobs]}
        )
    else:
        rows: list[tuple[str, Any]] = [("service", f"{client.base_url} {'is ready' if ready.ready else 'is NOT ready'}")]
        rows += [(f"  {name}", check.detail) for name, check in ready.checks.items() if not check.ok]
        if user is not None:
            rows += [("user", user.external_id or user.id), ("photos", f"{user.images or 0} ({decimal(user.images_bytes or 0)})")]
            rows += [("model in use", f"personal, version {user.active_model_version}" if user.active_model_version else "the base")]
        rows += [(job.kind, f"{describe(job)} [{job.id}]") for job in jobs]
        _print_rows(rows)
    raise typer.Exit(EXIT_FINE if ready.ready else EXIT_UNAVAILABLE)


def _going_on(client: Client) -> list[Job]:
    """The unfinished ones among the newest jobs of both kinds."""
    newest = [islice(client.jobs(kind, page_entries=_NEWEST), _NEWEST) for kind in ("adaptation", "segmentation")]
    # Not only those before the first that has ended: a long segmentation gives way to newer ones.
    return [job for jobs in newest for job in jobs if not job.ended]


def _print_rows(rows: list[tuple[str, Any]]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, str(value).replace("[", "\\["))
    Console(highlight=False).print(table)
