"""Users, their tokens, and what the deployment offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import httpx

from app.client._sync.connection import Connection
from app.client.answers import Patience, body, entries, no_answer, parse
from app.client.documents import BaseInfo, Caller, ClassInfo, Erasure, JsonObject, Quotas, Readiness, Token, User, UserSettings
from app.client.errors import NotAuthorized
from app.client.login import is_of_a_user
from app.client.paths import path_of


class People(Connection):
    """Calls on users and on the catalogue."""

    def me(self) -> Caller:
        """Whose token this is."""
        return parse(Caller, self._json("GET", "/v1/me"))

    def users(self) -> Iterator[User]:
        """All users, oldest first (service token only), a page fetched when it is needed."""
        for entry in self._pages("/v1/users"):
            yield parse(User, entry)

    def create_user(self, external_id: str | None = None) -> User:
        """Make a user (service token only); its token is in the answer, this once."""
        wish = {} if external_id is None else {"external_id": external_id}
        return parse(User, self._json("POST", "/v1/users", json=wish))

    def user(self) -> User:
        """The user, how many photos they have, and which of their models is in use."""
        return parse(User, self._json("GET", self._path()))

    def erase(self) -> JsonObject:
        """Erase the user: rows, photos, masks, models, running jobs. Answers with what was removed.

        Empty where the answer got lost and the user was gone when it was asked for again.
        """
        patience = Patience(self._retries)
        try:
            answer = self._send("DELETE", self._path(), patience=patience)
        except NotAuthorized as error:
            # The user's own token is gone with them.
            if patience.lost and error.status == httpx.codes.UNAUTHORIZED and is_of_a_user(self._token):
                return {}
            raise
        document: JsonObject = body(answer) if answer.is_success else {}
        return document

    def erasure(self, erasure_id: str) -> Erasure:
        """How far an erasure is (service token only); `erase` answers with its id."""
        return parse(Erasure, self._json("GET", path_of("/v1/erasures/{}", erasure_id)))

    def settings(self) -> UserSettings:
        """What the user has chosen."""
        return parse(UserSettings, self._json("GET", self._path("settings")))

    def change_settings(self, *, auto_adapt: bool | None = None) -> UserSettings:
        """Change what is not None: `auto_adapt` lets adaptations start by themselves after uploads."""
        return parse(UserSettings, self._json("PATCH", self._path("settings"), json={"auto_adapt": auto_adapt}))

    def quotas(self) -> Quotas:
        """What the user may store and compute, and how much of it is used."""
        return parse(Quotas, self._json("GET", self._path("quotas")))

    def set_quotas(self, **limits: float | None) -> Quotas:
        """Limits of this user's own (service token only): `images`, `bytes`, `adaptation_seconds`; None is the service's again."""
        answer = self._json("PATCH", self._path(), json={"quotas": limits})
        return parse(Quotas, answer.get("quotas") if isinstance(answer, dict) else answer)

    def create_token(
        self, *, scope: Literal["user", "read_only"] = "user", expires_in_days: int | None = None, revoke_others: bool = False
    ) -> Token:
        """A further token of the user; its text is in the answer, this once."""
        wish: JsonObject = {"scope": scope, "revoke_others": revoke_others}
        if expires_in_days is not None:
            wish["expires_in_days"] = expires_in_days
        return parse(Token, self._json("POST", self._path("tokens"), json=wish))

    def rotate_token(self, token_id: str, *, grace_seconds: int = 0) -> Token:
        """A new token in the place of this one, which stays good for a while more."""
        return parse(Token, self._json("POST", self._path("tokens/{}/rotate", token_id), json={"grace_seconds": grace_seconds}))

    def tokens(self) -> list[Token]:
        """The user's tokens without their texts, page by page, oldest first."""
        return [parse(Token, entry) for entry in self._pages(self._path("tokens"))]

    def revoke_token(self, token_id: str) -> None:
        """From the next request on the token is refused."""
        self._send("DELETE", self._path("tokens/{}", token_id))

    def bases(self) -> list[BaseInfo]:
        """The base models."""
        return [parse(BaseInfo, entry) for entry in entries(self._json("GET", "/v1/bases"), "items")]

    def classes(self, base: str | None = None) -> list[ClassInfo]:
        """Class ids, names and colours of a base (by default the default one)."""
        query = {} if base is None else {"base": base}
        return [parse(ClassInfo, entry) for entry in entries(self._json("GET", "/v1/classes", params=query), "items")]

    def is_alive(self) -> bool:
        """Whether the API's process answers."""
        return (self._send("GET", "/healthz")).is_success

    def readiness(self) -> Readiness:
        """Whether the service can do its work, and what each part says; asked once, without patience."""
        try:
            answer = self._http.get("/readyz")
        except httpx.TransportError as error:
            raise no_answer(self.base_url, error) from error
        return parse(Readiness, body(answer))
