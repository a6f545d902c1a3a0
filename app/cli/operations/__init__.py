"""Commands of the operator. They act on the database and the blobs of the settings, without HTTP and without a token."""

from __future__ import annotations

import typer

from app.cli.operations.data import backup, migrate, restore
from app.cli.operations.doctor import doctor
from app.cli.operations.jobs import jobs
from app.cli.operations.tokens import tokens
from app.cli.operations.users import users

PANEL = "On the machine of the service"


def add_operations(app: typer.Typer) -> None:
    """Hang the operator's commands into `personalseg`."""
    for group, name in ((users, "users"), (tokens, "tokens"), (jobs, "jobs")):
        app.add_typer(group, name=name, rich_help_panel=PANEL)
    for command in (migrate, backup, restore, doctor):
        app.command(rich_help_panel=PANEL)(command)
