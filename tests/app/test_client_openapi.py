"""Client and OpenAPI agree: every route is reached by a method, with parameters and bodies that the document knows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from app.client import Client, ClientError, ExportFormat, Job, MaskFormat
from app.exports.service import ExportFormat as ServedExportFormat
from app.masks.schemas import MaskFormat as ServedMaskFormat
from tests.app.conftest import Caller
from tests.app.photos import jpeg

ID = "01890000-0000-7000-8000-000000000000"
JOBS = [Job(id=ID, kind=kind, status="queued") for kind in ("adaptation", "segmentation")]

CALLS: list[Callable[[Client], Any]] = [
    Client.me,
    lambda client: list(client.users()),
    Client.create_user,
    Client.user,
    Client.quotas,
    lambda client: client.set_quotas(images=10),
    lambda client: client.create_token(scope="read_only", expires_in_days=1),
    Client.tokens,
    lambda client: client.rotate_token(ID, grace_seconds=5),
    lambda client: client.revoke_token(ID),
    Client.bases,
    lambda client: client.classes("espnetv2"),
    Client.is_alive,
    Client.readiness,
    lambda client: client.upload([Path(client.photo)]),  # type: ignore[attr-defined]
    Client.images,
    lambda client: client.image(ID),
    lambda client: client.content(ID),
    lambda client: client.thumbnail(ID, size=64),
    lambda client: client.delete_image(ID),
    lambda client: client.adapt(budget_seconds=5, base="espnetv2", seed=1),
    lambda client: client.segment([ID], base="espnetv2", wait_seconds=0.1),
    *[lambda client, job=job: client.job(job.kind, job.id) for job in JOBS],
    *[lambda client, job=job: list(client.jobs(job.kind)) for job in JOBS],
    *[lambda client, job=job: list(client.follow(job)) for job in JOBS],
    *[lambda client, job=job: client.cancel(job) for job in JOBS],
    lambda client: client.open_mask(ID),
    lambda client: client.segment_photo(jpeg(), model="base"),
    lambda client: client.segment_photo(client.photo),  # type: ignore[attr-defined]
    Client.models,
    lambda client: client.activate(1),
    lambda client: client.delete_model(1),
    lambda client: client.export(f"{client.photo}.zip", format="voc"),  # type: ignore[attr-defined]
    Client.settings,
    lambda client: client.change_settings(auto_adapt=True),
    lambda client: client.set_webhook("https://example.org/hook", rotate_secret=True),
    Client.webhook,
    lambda client: list(client.deliveries()),
    Client.delete_webhook,
    lambda client: client.erasure(ID),
    Client.erase,
]
OF_THE_SERVICE: list[Callable[[Client], Any]] = [
    lambda client: client.set_webhook("https://example.org/hook"),
    Client.webhook,
    lambda client: list(client.deliveries()),
    Client.delete_webhook,
]


class Recorder(httpx.BaseTransport):
    """Passes requests on and remembers them."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._inner.handle_request(request)


@pytest.fixture
def recorded(service: Caller, tmp_path: Path) -> Iterator[list[httpx.Request]]:
    """Every request that the calls make."""
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg())
    recorder = Recorder(service.client._transport)
    with Client("http://testserver", service.token, transport=recorder, retries=0) as back_end:
        client = back_end.for_user(back_end.create_user())
        client = Client("http://testserver", service.token, user_id=client.user_id, transport=recorder, retries=0)
        client.photo = str(photo)  # type: ignore[attr-defined]
        for caller, calls in ((client, CALLS), (back_end, OF_THE_SERVICE)):
            for call in calls:
                with suppress(ClientError):
                    call(caller)
    yield recorder.requests


def test_every_route_is_reached_and_no_other(api: FastAPI, recorded: list[httpx.Request]) -> None:
    document = api.openapi()
    operations = {(method.upper(), path): operation for path, methods in document["paths"].items() for method, operation in methods.items()}
    reached = set()
    for request in recorded:
        found = [key for key in operations if key[0] == request.method and re.fullmatch(_pattern(key[1]), request.url.path)]
        assert found, f"{request.method} {request.url.path} is not in the OpenAPI document"
        key = min(found, key=lambda entry: entry[1].count("{"))
        reached.add(key)
        _check_parameters(request, operations[key], document)
    assert set(operations) - reached == set(), "no method of the client reaches these"


def test_the_formats_are_those_of_the_api() -> None:
    assert set(get_args(ExportFormat)) == {entry.value for entry in ServedExportFormat}
    assert set(get_args(MaskFormat)) | {"json", "rle"} == {entry.value for entry in ServedMaskFormat}


def _pattern(path: str) -> str:
    return re.sub(r"\{\w+\}", "[^/]+", path)


def _check_parameters(request: httpx.Request, operation: dict[str, Any], document: dict[str, Any]) -> None:
    known = {entry["name"] for entry in operation.get("parameters", []) if entry["in"] == "query"}
    assert set(request.url.params) <= known, (request.url, known)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is None or request.headers.get("content-type") != "application/json":
        return
    assert set(json.loads(request.content)) <= set(_properties(body["schema"], document)), request.url


def _properties(schema: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield from schema.get("properties", {})
    for variant in schema.get("anyOf", []):
        yield from _properties(variant, document)
