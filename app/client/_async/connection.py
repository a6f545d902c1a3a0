"""One connection to a deployment: requests with a token, repeated where that is safe, answers checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import anyio
import httpx

from app.client.answers import Patience, body, checked, entries, no_answer
from app.client.documents import User
from app.client.errors import BadLogin, NoUser
from app.client.login import address_of, current_login, token_of
from app.client.paths import is_id, path_of, require_plain
from app.client.tls import trusted

REQUEST_TIMEOUT_SECONDS = 120.0
RETRIES = 5
PAGE_ENTRIES = 500


class AsyncConnection:
    """Talks to one deployment with one token.

    A method that concerns a user needs `user_id`: give it here, or take `for_user`.

    Args:
        base_url: e.g. `http://127.0.0.1:8000`; a final `/v1` is left out.
        token: a service token, or the token of the user `user_id`; spaces and line ends around it are left out.
        user_id: the user that the gallery methods act for: an id, which is a UUID.
        timeout_seconds: of one request.
        retries: how often a request is sent again after a lost connection, a 503, or a 429 that says when to come back.
            A POST carries an Idempotency-Key of its own, the same for all attempts.
        transport: for tests.
        sleep: for tests.

    Raises:
        BadLogin: the address, the token or the user's id cannot be one.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        user_id: str | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        if user_id is not None and not is_id(user_id):
            raise BadLogin("bad_user", f"{user_id!r} cannot be the id of a user: it is a UUID, as `create_user` answers it.")
        self.base_url = address_of(base_url)
        self.user_id = user_id
        self._token = token_of(token)
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._transport = transport
        self._sleep = sleep
        self._class_names: dict[str, tuple[str, ...]] = {}
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=timeout_seconds,
            transport=transport,
            verify=trusted(),
            trust_env=False,  # a proxy of the environment is never meant for the deployment next door
        )

    @classmethod
    def logged_in(cls) -> Self:
        """From PERSONALSEG_URL, PERSONALSEG_TOKEN and PERSONALSEG_USER, else from `personalseg login`.

        Raises:
            NotLoggedIn: neither says enough.
            BadLogin: the environment's address, token or user (an id) cannot be one.
        """
        login = current_login()
        return cls(login.url, login.token, user_id=login.user_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def for_user(self, user: User | str) -> Self:
        """A client that acts as this user (or id): with the user's own token where it is known, else with the present one.

        Raises:
            BadLogin: it cannot be the id of a user (an external id is none: `users` tells whose it is).
        """
        known = user if isinstance(user, User) else User(id=user)
        client = type(self)(
            self.base_url,
            known.token or self._token,
            user_id=known.id,
            timeout_seconds=self._timeout_seconds,
            retries=self._retries,
            transport=self._transport,
            sleep=self._sleep,
        )
        client._class_names = self._class_names  # of the same deployment
        return client

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """Any route by hand, e.g. one that is newer than this client: the JSON of its answer (None where it has none).

        `options` are httpx's: `params`, `json`, `content`, `headers`. Retries and errors are those of the other methods.
        Whoever puts ids into the path looks at them before: a path with `..` in it, or to another server, is not asked.

        Raises:
            InvalidRequest: `malformed_path`.
        """
        require_plain(path)
        answer = await self._send(method, path, **options)
        return body(answer) if answer.content else None

    # Below: one request

    def _path(self, words: str = "", *ids: object) -> str:
        """A path below the user, with each `{}` of `words` replaced by an id. Raises NoUser, InvalidRequest (`malformed_id`)."""
        if self.user_id is None:
            raise NoUser
        return path_of("/v1/users/{}" + (f"/{words}" if words else ""), self.user_id, *ids)

    async def _pages(self, path: str, **query: str | int) -> AsyncIterator[Any]:
        """The entries of all pages."""
        query.setdefault("limit", PAGE_ENTRIES)
        while True:
            page = await self._json("GET", path, params=query)
            for entry in entries(page, "items"):
                yield entry
            if not isinstance(page, dict) or page.get("next_cursor") is None:
                return
            query["cursor"] = page["next_cursor"]

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        return body(await self._send(method, path, **options))

    async def _send(
        self, method: str, path: str, *, key: str | None = None, patience: Patience | None = None, **options: Any
    ) -> httpx.Response:
        """The answer, when it is a success. `patience`: tells afterwards how it went. Raises ClientError."""
        headers = options.pop("headers", None) or {}
        if method == "POST":
            headers = key_header(key) | headers

        async def attempt() -> httpx.Response:
            # A blob may be in a bucket: the answer leads there, and httpx shows another server no token.
            return await self._http.request(method, path, headers=headers, follow_redirects=method == "GET", **options)

        return await self._attempts(attempt, is_delete=method == "DELETE", patience=patience)

    async def _attempts(
        self, attempt: Callable[[], Awaitable[httpx.Response]], *, is_delete: bool = False, patience: Patience | None = None
    ) -> httpx.Response:
        """Make a request until its answer stands, at most `retries` + 1 times."""
        patience = patience or Patience(self._retries)
        while True:
            try:
                answer = await attempt()
            except httpx.TransportError as error:
                pause = patience.pause_after(error)
                if pause is None:
                    raise no_answer(self.base_url, error) from error
            else:
                pause = patience.pause_after(answer)
                if pause is None:
                    # What a lost attempt has deleted is not there any more for the next one.
                    gone = is_delete and patience.used and answer.status_code == httpx.codes.NOT_FOUND
                    return answer if gone else checked(answer)
            await self._sleep(pause)


def key_header(key: str | None = None) -> dict[str, str]:
    """The header of one logical POST, the same for all its attempts; `key`: one of the caller's own."""
    return {"Idempotency-Key": key or str(uuid4())}
