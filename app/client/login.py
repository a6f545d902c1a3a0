"""Which server, which token, which user: from the environment, else from the file that `personalseg login` wrote."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_config_path

from app.client.errors import NotLoggedIn

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE = "PERSONALSEG_URL", "PERSONALSEG_TOKEN", "PERSONALSEG_USER"


@dataclass(frozen=True)
class Login:
    """Where to ask, as whom; `user_id` is None for a service token that has chosen nobody."""

    url: str
    token: str
    user_id: str | None = None

    def __repr__(self) -> str:
        return f"Login(url={self.url!r}, user_id={self.user_id!r})"


def login_path() -> Path:
    """The file of the login, in the user's configuration folder."""
    return user_config_path("personalseg", appauthor=False) / "login.json"


def save_login(login: Login) -> Path:
    """Write the file, for this user's eyes only from its first byte on."""
    path = login_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.half")
    try:
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(login), file)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return path


def forget_login() -> bool:
    """Remove the file; whether there was one."""
    path = login_path()
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def current_login() -> Login:
    """The login in force. A token of the environment wins over the file as a whole: the file's user may be another one's.

    Raises NotLoggedIn.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    url, user = os.environ.get(URL_VARIABLE), os.environ.get(USER_VARIABLE)
    if token:
        return Login(url or DEFAULT_URL, token.strip(), user or None)
    saved = _read(login_path())
    if url and url.rstrip("/") != saved.url.rstrip("/"):
        raise NotLoggedIn(f"{URL_VARIABLE} names {url}, but you are logged in to {saved.url}: run `personalseg login {url}`.")
    return Login(saved.url, saved.token, user or saved.user_id)


def _read(path: Path) -> Login:
    try:
        document = json.loads(path.read_text("utf-8"))
        return Login(str(document["url"]), str(document["token"]), document.get("user_id"))
    except FileNotFoundError:
        raise NotLoggedIn(f"You are not logged in: run `personalseg login`, or set {URL_VARIABLE} and {TOKEN_VARIABLE}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotLoggedIn(f"The login file {path} cannot be used ({error}): run `personalseg login` again.") from error
