"""Opens the page for the person at this machine, signed in: the address carries a user's token in its fragment.

A fragment is sent to no server and the page takes it out of the address at once. The browser is started on a private
file that leads there, because what stands on a command line every account of this machine can read.
"""

from __future__ import annotations

import os
import webbrowser
from html import escape
from pathlib import Path

from app.client import Client, Conflict

OWN_USER = "me"
"""The `external_id` of the user that the embedded deployment makes for the person at this machine."""
TOKEN_DAYS = 7
OPENING_FILE = "open-page.html"


def signed_in_address(base_url: str, service_token: str) -> str:
    """The page's address with a new token of this machine's own user, good for a week; raises ClientError."""
    with Client(base_url, service_token) as service, service.for_user(_own_user_id(service)) as own:
        token = own.create_token(expires_in_days=TOKEN_DAYS).token
    assert token is not None  # a new token's answer carries its text
    return address_with(base_url, token)


def address_with(base_url: str, token: str) -> str:
    """The page's address with this token."""
    return f"{base_url}/#token={token}"


def open_in_browser(address: str, folder: Path) -> bool:
    """Show the address in the person's browser; False where there is none. The private file stays in `folder`."""
    path = folder / OPENING_FILE
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={escape(address)}">\n')
    return webbrowser.open(path.as_uri())


def _own_user_id(service: Client) -> str:
    try:
        return service.create_user(OWN_USER).id
    except Conflict as taken:
        if taken.code != "external_id_taken":
            raise
        return str(taken.problem["user_id"])
