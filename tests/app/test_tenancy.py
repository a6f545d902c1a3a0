"""Every route of the OpenAPI document × every kind of caller."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import FastAPI

from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import jpeg

BOTH_DATABASES = True

OPEN_PATHS = {"/healthz", "/readyz"}


def routes_of(api: FastAPI) -> list[tuple[str, str]]:
    """Every (method, path) of the document."""
    return [(method.upper(), path) for path, entry in api.openapi()["paths"].items() for method in entry]


def body_for(path: str, method: str) -> dict[str, Any]:
    """A body with which the request would succeed, were the caller the right one."""
    if method != "POST":
        return {}
    if path.endswith("/images"):
        return {"files": [("files", ("a.jpg", jpeg(seed=5)))]}
    if path.endswith("/segment"):
        return {"content": jpeg(seed=5), "headers": {"content-type": "image/jpeg"}}
    return {"json": {"adapt": "never"} if path.endswith("/segmentations") else {}}


def ids_of(caller: Caller, api: FastAPI) -> dict[str, str]:
    """One real id for every parameter of a path, all of this caller's user."""
    image_id, _ = caller.upload_photos(2)
    adaptation = caller("POST", "adaptations").json()["id"]
    version = hand_worker.adapt(api, adaptation)
    segmentation = caller("POST", "segmentations", json={"adapt": "never"}).json()["id"]
    hand_worker.segment(api, segmentation)
    return {
        "user_id": caller.user_id,
        "image_id": image_id,
        "token_id": caller("GET", "tokens").json()["items"][0]["id"],
        "version": str(version),
        "adaptations": adaptation,
        "segmentations": segmentation,
    }


def filled(path: str, ids: dict[str, str]) -> str:
    """The path with ids in it."""
    kind = "adaptations" if "/adaptations" in path else "segmentations"
    return path.format(**ids, job_id=ids[kind])


def test_every_route_wants_a_token_and_shows_nobody_anothers(api: FastAPI, alice: Caller, bob: Caller, anonymous: Any) -> None:
    theirs = ids_of(alice, api)
    mixed = {**theirs, "user_id": bob.user_id}
    before = {path: alice("GET", path).json() for path in ("", "images", "adaptations", "segmentations", "models", "tokens")}
    checked = 0
    for method, path in routes_of(api):
        if path in OPEN_PATHS:
            continue
        body = body_for(path, method)
        for token in (None, "pseg_usr_" + "x" * 43):
            headers = dict(body.get("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {}))
            answer = anonymous.request(method, filled(path, theirs), **{**body, "headers": headers})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path)
        if "{user_id}" not in path:
            continue
        foreign = bob(method, filled(path, theirs), **body)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "user_not_found"), (method, path)
        unknown = bob(method, filled(path, {**theirs, "user_id": str(uuid4())}), **body)
        assert unknown.json() == foreign.json() and set(unknown.headers) == set(foreign.headers), (method, path)
        if path.count("{") > 1:
            # bob's own user, alice's photo, job, model or token
            answer = bob(method, filled(path, mixed), **body)
            assert answer.status_code == 404, (method, path)
            assert theirs["user_id"] not in answer.text
        checked += 1
    assert checked >= 25
    for path, seen in before.items():
        after = alice("GET", path).json()
        assert after == seen, path


def test_the_service_may_act_for_any_user(api: FastAPI, service: Caller, alice: Caller) -> None:
    ids = ids_of(alice, api)
    for method, path in routes_of(api):
        if method == "GET" and path not in OPEN_PATHS | {"/v1/bases", "/v1/classes"}:
            assert service(method, filled(path, ids)).status_code == 200, path


def test_malformed_ids_have_their_code(alice: Caller) -> None:
    for path in ("images/x", "adaptations/1", "segmentations/" + "9" * 300, "images/x/mask"):
        answer = alice("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed_id")
