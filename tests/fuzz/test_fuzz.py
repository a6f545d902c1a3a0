"""The short form of `make test-fuzz`: under a minute of Schemathesis, and Hypothesis on what callers may write anywhere."""

from __future__ import annotations

import string
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.fuzz.campaign import run
from tests.fuzz.service import FuzzedService, fuzzed_service

few = hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
# What a client can send at all: no control characters.
printable = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=80)


@pytest.fixture(scope="module")
def service() -> Iterator[FuzzedService]:
    with fuzzed_service() as started:
        yield started


@pytest.fixture(scope="module")
def sacrificed() -> Iterator[FuzzedService]:
    """One whose photos and jobs may be deleted."""
    with fuzzed_service() as started:
        yield started


@pytest.fixture(scope="module")
def client(service: FuzzedService) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.service_token}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as opened:
        yield opened


@pytest.mark.parametrize("real_ids", [True, False])
def test_the_document_holds_what_it_says(sacrificed: FuzzedService, real_ids: bool) -> None:
    before = sum(sacrificed.statuses().values())
    code, said = run(sacrificed, seconds=12, examples=5, seed=20, real_ids=real_ids)
    assert code == 0, said
    assert sum(sacrificed.statuses().values()) - before >= 100, said
    assert sacrificed.crashes() == []


def require_sane(answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in statuses, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json" and answer.json()["code"]
    assert answer.headers["x-request-id"]


@few
@given(st.text(string.printable.replace("/", "").replace("?", "").replace("#", "").replace("%", ""), min_size=1, max_size=60))
@example("..")
@example("00000000-0000-0000-0000-000000000000")
@example("٣" * 36)
def test_any_text_as_an_id(client: httpx.Client, service: FuzzedService, text: str) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in text.encode())
    for path in (f"/v1/users/{quoted}", f"/v1/users/{service.ids['user_id']}/images/{quoted}", f"/v1/users/{quoted}/images"):
        require_sane(client.get(path), 404, 405, 422, *((200,) if text in (".", "..") else ()))


@few
@given(st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda raw: raw.hex())))
@example("AAAAAAAAAAAAAAAAAAAAAA")
@example("=" * 50)
@example("\0")
def test_any_text_as_a_cursor(client: httpx.Client, service: FuzzedService, text: str) -> None:
    for path in ("images", "adaptations", "segmentations"):
        answer = client.get(f"/v1/users/{service.ids['user_id']}/{path}", params={"cursor": text.encode("utf-8", "replace")})
        require_sane(answer, 200, 422)
        if answer.status_code == 422:
            assert answer.json()["code"] in ("bad_cursor", "validation_failed")


@few
@given(st.one_of(st.integers(-(10**30), 10**30).map(str), st.text(max_size=20)))
def test_any_text_as_a_limit(client: httpx.Client, service: FuzzedService, text: str) -> None:
    require_sane(client.get(f"/v1/users/{service.ids['user_id']}/images", params={"limit": text}), 200, 422)


MEDIA_TYPES = ["application/json", "text/plain", "multipart/form-data; boundary=x", "image/jpeg", "application/zip", "", "a/b;=,"]
HEADERS = ["Idempotency-Key", "Last-Event-ID", "If-None-Match", "X-Request-ID", "X-Forwarded-For", "Accept", "Range", "Origin", "Cookie"]


@few
@given(st.sampled_from(HEADERS), printable)
@example("Range", "bytes=0-1,5-9999999999999999999")
@example("If-None-Match", '"' * 60)
def test_any_text_in_a_header(client: httpx.Client, service: FuzzedService, name: str, value: str) -> None:
    headers = {name: value.strip().encode("latin-1")}
    user = f"/v1/users/{service.ids['user_id']}"
    for path in (f"{user}/images/{service.ids['image_id']}/content", f"{user}/segmentations/{service.ids['segmentation_id']}/events"):
        require_sane(client.get(path, headers=headers), 200, 204, 206, 304, 416, 422)
    require_sane(client.post(f"{user}/adaptations", headers=headers, json={}), 202, 409, 422)


@few
@given(printable)
@example("Bearer " + "pseg_usr_" + "0" * 49)
@example("Bearer\t\tx")
def test_any_text_as_authorization(service: FuzzedService, value: str) -> None:
    answer = httpx.get(f"{service.url}/v1/me", headers={"Authorization": value.strip().encode("latin-1")}, timeout=60)
    require_sane(answer, 401)


@few
@given(
    st.binary(max_size=300),
    st.sampled_from(["application/json", "text/plain", "multipart/form-data; boundary=x", "image/jpeg", "", "a/b;=,"]),
)
@example(b'{"external_id": "\\ud800"}', "application/json")
@example(b"[" * 100_000, "application/json")
@example(b'{"x":' * 50_000, "application/json")
def test_any_bytes_as_a_body(client: httpx.Client, service: FuzzedService, body: bytes, media_type: str) -> None:
    user = f"/v1/users/{service.ids['user_id']}"
    for path in ("/v1/users", f"{user}/segmentations", f"{user}/images", f"{user}/segment", f"{user}/tokens"):
        answer = client.post(path, content=body, headers={"content-type": media_type})
        require_sane(answer, 200, 201, 202, 400, 409, 413, 415, 422, 504, 507)
