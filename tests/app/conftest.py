"""The API in this process, on real databases, and its callers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from app import auth
from app.db import Database
from app.main import create_app
from app.settings import Settings
from tests.app.photos import Files, jpeg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient


@pytest.fixture
def api(settings: Settings) -> FastAPI:
    """The application."""
    return create_app(settings)


@pytest.fixture
def anonymous(api: FastAPI) -> Iterator[httpx.Client]:
    """A caller without a token."""
    with TestClient(api, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def api_database(api: FastAPI) -> Database:
    """The database that the application stands on."""
    opened = api.state.wiring.database
    assert isinstance(opened, Database)
    return opened


@contextmanager
def statements_on(database: Database) -> Iterator[list[str]]:
    """What is sent to the database within the block."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


@dataclass
class Caller:
    """Somebody with a token, at the paths of one user."""

    client: httpx.Client
    token: str
    user_id: str = ""

    def __call__(self, method: str, path: str = "", **options: object) -> httpx.Response:
        """Send a request; a path that does not start with a slash is below the user's."""
        url = path if path.startswith("/") else f"/v1/users/{self.user_id}/{path}".rstrip("/")
        headers = {"Authorization": f"Bearer {self.token}", **(options.pop("headers", None) or {})}  # type: ignore[dict-item]
        return self.client.request(method, url, headers=headers, **options)  # type: ignore[arg-type]

    def upload(self, files: Files) -> list[dict[str, object]]:
        """Upload files; returns the entry of each."""
        answer = self("POST", "images", files=[("files", file) for file in files])
        assert answer.status_code == 200, answer.text
        results: list[dict[str, object]] = answer.json()["results"]
        return results

    def upload_photos(self, count: int) -> list[str]:
        """Upload that many different photos; returns their ids."""
        files = [(f"{index}.jpg", jpeg(seed=hash((self.user_id, index)))) for index in range(count)]
        return [str(entry["image_id"]) for entry in self.upload(files)]


@pytest.fixture
def service(api_database: Database, anonymous: httpx.Client) -> Caller:
    """An application's back end."""
    with api_database.write() as session:
        token = auth.ensure_service_token(session)
    assert token is not None
    return Caller(anonymous, token)


def make_user(service: Caller) -> Caller:
    """A new user, with their own token."""
    created = service("POST", "/v1/users").json()
    return Caller(service.client, created["token"], created["id"])


@pytest.fixture
def alice(service: Caller) -> Caller:
    """A user."""
    return make_user(service)


@pytest.fixture
def bob(service: Caller) -> Caller:
    """Another user."""
    return make_user(service)
