"""`personalseg settings …`, `webhook …` and `quotas`: what you have chosen, who is told, how much you may."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from app.cli.console import AsJson, failures, print_json, require_somebody_to_ask
from app.client import Client, Quota, UserSettings

settings = typer.Typer(help="What you have chosen.", no_args_is_help=True)
webhook = typer.Typer(help="The address that is told of the end of your jobs.", no_args_is_help=True)

_SECONDS_PER_MINUTE = 60


@settings.command("show")
def show_settings(as_json: AsJson = False) -> None:
    """Whether adaptations start by themselves.

    Example:

      personalseg settings show
    """
    with failures(as_json), Client.logged_in() as client:
        found = client.settings()
    _tell_settings(found, as_json)


@settings.command("set")
def set_setting(
    name: Annotated[Literal["auto-adapt"], typer.Argument(help="`auto-adapt`: adapt by itself some quiet seconds after uploads.")],
    value: Annotated[Literal["on", "off"], typer.Argument(help="`on` or `off`.")],
    as_json: AsJson = False,
) -> None:
    """Change a setting.

    Examples:

      personalseg settings set auto-adapt on
    """
    with failures(as_json), Client.logged_in() as client:
        changed = client.change_settings(**{name.replace("-", "_"): value == "on"})
    _tell_settings(changed, as_json)


def _tell_settings(found: UserSettings, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump())
    else:
        typer.echo(f"auto-adapt is {'on' if found.auto_adapt else 'off'}.")


@webhook.command("set")
def set_webhook(
    url: Annotated[str, typer.Argument(help="`https://…`, on the open internet.")],
    rotate_secret: Annotated[bool, typer.Option("--rotate-secret", help="Make a new secret; the old one ends at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell this address of the end of every job. A new webhook's secret is shown this once.

    Examples:

      personalseg webhook set https://example.org/hook

      personalseg webhook set https://example.org/hook --rotate-secret --json | jq -r .secret
    """
    with failures(as_json), Client.logged_in() as client:
        made = client.set_webhook(url, rotate_secret=rotate_secret)
    if as_json:
        print_json(made.model_dump())
        return
    typer.echo(f"{made.url} is told of the end of jobs.")
    if made.secret is not None:
        typer.echo(f"The secret that the messages are signed with, shown this once: {made.secret}")


@webhook.command("show")
def show_webhook(as_json: AsJson = False) -> None:
    """The address; its secret is not shown again.

    Example:

      personalseg webhook show
    """
    with failures(as_json), Client.logged_in() as client:
        found = client.webhook()
    if as_json:
        print_json(found.model_dump(exclude={"secret"}))
    else:
        typer.echo(found.url)


@webhook.command("delete")
def delete_webhook(sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False, as_json: AsJson = False) -> None:
    """Tell nobody any more; the secret is gone with it.

    Example:

      personalseg webhook delete --yes
    """
    if not sure:
        require_somebody_to_ask(as_json)
        typer.confirm("Delete the webhook and its secret?", abort=True, err=True)
    with failures(as_json), Client.logged_in() as client:
        client.delete_webhook()
    if as_json:
        print_json({"deleted": True})
    else:
        typer.echo("Nobody is told any more.")


@webhook.command("deliveries")
def list_deliveries(limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most lines.")] = 20, as_json: AsJson = False) -> None:
    """What was told or is to be told, newest first: how often it was tried, and what the receiver answered.

    Example:

      personalseg webhook deliveries --limit 20
    """
    with failures(as_json), Client.logged_in() as client:
        found = list(islice(client.deliveries(), limit))
    if as_json:
        print_json({"deliveries": [delivery.model_dump() for delivery in found]})
        return
    if not found:
        typer.echo("Nothing was told yet.")
        return
    table = Table("event", "job", "status", "attempts", "answer", "error", box=None, pad_edge=False)
    for entry in found:
        answer = "" if entry.response_status is None else str(entry.response_status)
        table.add_row(entry.event, entry.job_id, entry.status, str(entry.attempts), answer, escape(entry.error or ""))
    Console(highlight=False).print(table)


def quotas(as_json: AsJson = False) -> None:
    """What you may store, how long adaptations may run within 24 hours, and how much of it is used.

    Example:

      personalseg quotas --json
    """
    with failures(as_json), Client.logged_in() as client:
        found = client.quotas()
    if as_json:
        print_json(found.model_dump())
        return
    table = Table("", "used", "of", box=None, pad_edge=False)
    table.add_row("photos", *_both(found.images, "{:,.0f}".format))
    table.add_row("their bytes", *_both(found.bytes, lambda count: decimal(int(count))))
    table.add_row("adaptation within 24 hours", *_both(found.adaptation_seconds, lambda count: f"{count / _SECONDS_PER_MINUTE:,.1f} min"))
    Console(highlight=False).print(table)


def _both(quota: Quota, written: Callable[[float], str]) -> tuple[str, str]:
    return written(quota.used), written(quota.limit)
