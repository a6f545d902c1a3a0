"""Which server, which token, which user: from the environment, else from the file that `personalseg login` wrote."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from platformdirs import user_config_path

from app.client.answers import body, checked, no_answer, parse
from app.client.documents import Caller
from app.client.errors import BadLogin, NotLoggedIn
from app.client.tls import trusted

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE = "PERSONALSEG_URL", "PERSONALSEG_TOKEN", "PERSONALSEG_USER"


_OF_A_USER = ("pseg_usr_", "pseg_uro_")
_ASK_SECONDS = 30.0


def address_of(url: str) -> str:
    """The service's address as requests are built on it: without `/v1` and slashes at its end. Raises BadLogin (`bad_url`)."""
    address = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadLogin("bad_url", f"{url!r} is not an address: give one like {DEFAULT_URL}.")
    return address


def token_of(text: str) -> str:
    """The token without what is around it, such as a file's last line end. Raises BadLogin (`bad_token`), which does not quote it."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadLogin("bad_token", "That is no token: it is one line that begins with pseg_.")
    return token


def _chosen_user() -> str | None:
    """The id in PERSONALSEG_USER; None where it is not set. Raises BadLogin (`bad_user`)."""
    user = os.environ.get(USER_VARIABLE)
    try:
        return str(UUID(user)) if user else None
    except ValueError:
        advice = "`personalseg login --user` also takes an external id."
        raise BadLogin("bad_user", f"{USER_VARIABLE} is {user!r} and must be the id of a user: {advice}") from None


def is_of_a_user(token: str) -> bool:
    """Whether it is the token of one user, as its beginning tells."""
    return token.startswith(_OF_A_USER)


def holder_of(url: str, token: str) -> str | None:
    """The user of a user's token, as the service tells it; None for a service token. Raises ClientError."""
    if not is_of_a_user(token):
        return None
    try:
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{url}/v1/me", headers=headers, timeout=_ASK_SECONDS, verify=trusted(), trust_env=False)
    except httpx.TransportError as error:
        raise no_answer(url, error) from error
    return parse(Caller, body(checked(answer))).user_id


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

    A user's token names its user: where the environment does not, the service is asked. Raises NotLoggedIn, BadLogin, and what
    `holder_of` raises.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    url, user = os.environ.get(URL_VARIABLE), _chosen_user()
    if token:
        address, token = address_of(url or DEFAULT_URL), token_of(token)
        return Login(address, token, user or holder_of(address, token))
    saved = _read(login_path())
    if url and address_of(url) != address_of(saved.url):
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
