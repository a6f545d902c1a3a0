"""The client's promises: errors as a tree, retries where they are safe, uploads that are bounded and spoil nothing."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from app.cli.console import sentence_of
from app.client import (
    ApiError,
    BadAnswer,
    BadLogin,
    Client,
    ClientError,
    Conflict,
    ConnectionFailed,
    GalleryEmpty,
    GalleryTooSmall,
    IdempotencyConflict,
    InvalidRequest,
    Job,
    JobFailed,
    MaskNotReady,
    NotAuthorized,
    NotFound,
    NotInTime,
    QuotaExceeded,
    RateLimited,
    ServerFailed,
    TooLarge,
    UploadResult,
    User,
    WaitTimedOut,
)
from app.client.files import sha256_of
from app.client.login import holder_of
from tests.app.photos import mask_png
from tools.sync_client import TARGET, generate

Handler = Callable[[httpx.Request], httpx.Response]

USER, OTHER, PHOTO, SECOND, JOB = (f"01890000-0000-7000-8000-00000000000{digit}" for digit in range(5))


def client_of(handler: Handler, pauses: list[float] | None = None, **options: Any) -> Client:
    sleep = pauses.append if pauses is not None else (lambda seconds: None)
    transport = httpx.MockTransport(handler)
    return Client("http://test", "pseg_usr_x", user_id=USER, transport=transport, sleep=sleep, **options)


def answering(*answers: httpx.Response | Exception) -> Handler:
    """Answers one after another; an exception is what a lost connection raises."""
    left = list(answers)

    def handler(request: httpx.Request) -> httpx.Response:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


def problem(status: int, code: str, detail: str = "Do this instead.") -> httpx.Response:
    body = {"type": "about:blank", "title": "Title", "status": status, "detail": detail, "code": code}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json"})


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, NotAuthorized),
        (403, NotAuthorized),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (415, InvalidRequest),
        (422, InvalidRequest),
        (429, InvalidRequest),
        (500, ServerFailed),
        (503, ServerFailed),
        (507, TooLarge),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(kind) as caught:
        client_of(lambda request: problem(status, "some_code")).adapt()
    error = caught.value
    assert (error.code, error.title, error.detail, error.status) == ("some_code", "Title", "Do this instead.", status)
    assert error.problem["type"] == "about:blank"
    assert isinstance(error, ClientError)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(200, text="hello"),
        httpx.Response(200, json={"unexpected": 1}),
        httpx.Response(200, json=[1, 2]),
    ],
)
def test_a_foreign_answer_is_a_bad_answer(answer: httpx.Response) -> None:
    with pytest.raises(BadAnswer):
        client_of(lambda request: answer).job("adaptation", JOB)


def test_a_gallery_method_without_user_says_what_to_do() -> None:
    client = Client("http://test", "t", transport=httpx.MockTransport(lambda request: httpx.Response(200)))
    with pytest.raises(ValueError, match="for_user"):
        client.adapt()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://example.org", "", "https://"])
def test_an_address_that_is_none_is_told_before_anything_is_asked(url: str) -> None:
    with pytest.raises(BadLogin, match="is not an address"):
        Client(url, "t")


@pytest.mark.parametrize("token", ["", "  ", "zwei Wörter", "pseg_\x00", "pséudo"])
def test_a_token_that_is_none_is_not_quoted(token: str) -> None:
    with pytest.raises(BadLogin, match="That is no token") as caught:
        Client("http://test", token)
    assert not token.strip() or token not in str(caught.value)


def test_what_stands_around_address_and_token_is_left_out() -> None:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"items": []})

    client = Client("http://test/v1/", "pseg_token\n", transport=httpx.MockTransport(handler))
    assert client.bases() == []
    assert (str(asked[0].url), asked[0].headers["authorization"]) == ("http://test/v1/bases", "Bearer pseg_token")


@pytest.mark.parametrize("error", [httpx.LocalProtocolError("Illegal header value b'Bearer secret'"), httpx.UnsupportedProtocol("no")])
def test_what_cannot_be_sent_is_not_sent_again_and_not_quoted(error: httpx.TransportError) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    pauses: list[float] = []
    with pytest.raises(ConnectionFailed) as caught:
        client_of(handler, pauses).bases()
    assert pauses == [] and "secret" not in str(caught.value)


def test_an_erasure_whose_answer_was_lost_answers_nothing() -> None:
    handler = answering(httpx.ReadError("reset"), problem(404, "user_not_found"))
    assert client_of(handler, []).erase() == {}


def test_an_erasure_by_the_user_s_own_token_whose_answer_was_lost_answers_nothing() -> None:
    """The token is gone with the user; where no attempt can have been done, or the token is not the user's, 401 is what it says."""
    handler = answering(httpx.ReadError("reset"), problem(401, "unauthorized"))
    assert client_of(handler, []).erase() == {}
    back_end = Client(
        "http://test", "pseg_svc_x", user_id=USER, transport=httpx.MockTransport(lambda request: problem(401, "unauthorized"))
    )
    not_sent = client_of(answering(httpx.ConnectError("refused"), problem(503, "database_unavailable"), problem(401, "unauthorized")), [])
    lost = answering(httpx.ReadError("reset"), problem(401, "unauthorized"))
    of_service = Client("http://test", "pseg_svc_x", user_id=USER, transport=httpx.MockTransport(lost), sleep=lambda seconds: None)
    for client in (back_end, not_sent, of_service, client_of(lambda request: problem(401, "unauthorized"))):
        with pytest.raises(NotAuthorized):
            client.erase()


# Retries


def test_get_is_retried_on_503_and_lost_connections_with_growing_pauses() -> None:
    handler = answering(
        httpx.ConnectError("refused"),
        problem(503, "no_worker_yet"),
        httpx.ReadError("reset"),
        httpx.Response(200, json={"items": [{"name": "espnetv2"}]}),
    )
    pauses: list[float] = []
    assert [base.name for base in client_of(handler, pauses).bases()] == ["espnetv2"]
    assert len(pauses) == 3
    assert pauses == sorted(pauses)


def test_retry_after_is_honoured() -> None:
    answers = [
        httpx.Response(503, json={"code": "no_worker_yet"}, headers={"Retry-After": "3"}),
        httpx.Response(200, json={"items": []}),
    ]
    pauses: list[float] = []
    client_of(lambda request: answers.pop(0), pauses).bases()
    assert pauses == [3]


def test_retries_end() -> None:
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        raise httpx.ConnectTimeout("slow")

    with pytest.raises(ConnectionFailed, match="took too long") as caught:
        client_of(handler, retries=3).bases()
    assert len(requests) == 4
    assert caught.value.status == 0


@pytest.mark.parametrize("call", [lambda client: client.adapt(), lambda client: client.segment(), lambda client: client.create_user()])
def test_a_post_is_repeated_under_one_idempotency_key(call: Callable[[Client], Any]) -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(202, json={"id": JOB, "status": "queued"})

    client = client_of(handler)
    call(client)
    assert len(keys) == 2 and keys[0] == keys[1]
    call(client)
    assert keys[2] != keys[0]


def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    answers: list[httpx.Response | Exception] = [httpx.ReadError("reset"), problem(404, "image_not_found")]

    def handler(request: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client_of(handler).delete_image(PHOTO)
    with pytest.raises(NotFound):
        client_of(lambda request: problem(404, "image_not_found")).delete_image(PHOTO)


@pytest.mark.parametrize(("asked", "attempts"), [("2", 2), ("3600", 1), (None, 1)])
def test_too_many_requests_is_waited_for_only_when_it_is_soon_over(asked: str | None, attempts: int) -> None:
    requests: list[httpx.Request] = []
    pauses: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 2:
            return httpx.Response(200, json={"items": []})
        answer = problem(429, "rate_limited")
        if asked is not None:
            answer.headers["Retry-After"] = asked
        return answer

    client = client_of(handler, pauses)
    if attempts == 2:
        assert client.models() == [] and pauses == [2]
        return
    with pytest.raises(RateLimited) as caught:
        client.models()
    assert len(requests) == 1
    assert caught.value.retry_after_seconds == (float(asked) if asked else None)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "mask_not_ready", MaskNotReady),
        (409, "gallery_empty", GalleryEmpty),
        (409, "gallery_too_small", GalleryTooSmall),
        (422, "idempotency_conflict", IdempotencyConflict),
        (507, "quota_exceeded", QuotaExceeded),
        (504, "not_in_time", NotInTime),
    ],
)
def test_known_codes_have_errors_of_their_own(status: int, code: str, kind: type[ApiError]) -> None:
    answer = {"code": code, "job": "/v1/users/u1/segmentations/j1"}
    with pytest.raises(kind) as caught:
        client_of(lambda request: httpx.Response(status, json=answer)).adapt()
    assert caught.value.job_url == "/v1/users/u1/segmentations/j1"


# Requests


UPWARDS = ["users/..", "%2E%2e", "x%2f..%2f", "\\..\\"]
CLIMBING = [
    "..",
    ".",
    "",
    f"../../{OTHER}",
    f"%2e%2e/{PHOTO}",
    "..%2f..",
    f"{PHOTO}/../..",
    f"{PHOTO}?x=",
    f"{PHOTO}#",
    f"{PHOTO}\n",
    "//host/x",
    "\\..",
    "bob",
]


@pytest.mark.parametrize("wrong", CLIMBING)
def test_an_id_stays_in_its_place_or_nothing_is_asked(wrong: str) -> None:
    """httpx takes `..` for "one up": `delete_image("..")` would erase the account, `delete_image("../../ID")` another one's."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.method} {request.url}")

    client = client_of(handler)
    job = Job(id=wrong, kind="adaptation", status="queued")
    calls: list[Callable[[], Any]] = [
        *[lambda call=call: call(wrong) for call in (client.image, client.content, client.thumbnail, client.delete_image, client.mask)],
        *[lambda call=call: call(wrong) for call in (client.open_mask, client.revoke_token, client.rotate_token, client.erasure)],
        *[lambda call=call: call(wrong) for call in (client.activate, client.delete_model)],
        lambda: client.job("adaptation", wrong),
        lambda: client.job(wrong, PHOTO),  # type: ignore[arg-type]
        lambda: list(client.jobs(wrong)),  # type: ignore[arg-type]
        lambda: client.cancel(job),
        lambda: client.cancel(Job(id=JOB, kind=wrong, status="queued")),
        lambda: client.wait(job),
        lambda: list(client.follow(job)),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert (caught.value.code, caught.value.status) == ("malformed_id", 0)
    for bind in (client.for_user, lambda user: client.for_user(User(id=user)), lambda user: Client("http://test", "t", user_id=user)):
        with pytest.raises(BadLogin) as refused:
            bind(wrong)
        assert refused.value.code == "bad_user"
    client.user_id = wrong
    with pytest.raises(InvalidRequest):
        client.erase()


@pytest.mark.parametrize(
    "path",
    [
        "//elsewhere.test/v1/me",
        "http://elsewhere.test/v1/me",
        "v1/me",
        "",
        "/v1/users/../me",
        "/v1/%2E%2e/me",
        "/v1/x%2f..%2fme",
        "/v1\\..\\me",
    ],
)
def test_a_path_by_hand_shows_no_other_server_the_token_and_leads_nowhere_else(path: str) -> None:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    with pytest.raises(InvalidRequest) as caught:
        client_of(handler).call("GET", path)
    assert (caught.value.code, asked) == ("malformed_path", [])
    client_of(handler).call("GET", "/v1/users?cursor=../..", params={"limit": 1})
    assert asked[0].url.path == "/v1/users"


def test_for_user_uses_the_users_own_token_and_id() -> None:
    seen: list[tuple[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers["Authorization"]))
        return httpx.Response(200, json={"id": USER, "token": "pseg_usr_y", "items": []})

    service = Client("http://test/", "pseg_svc_x", transport=httpx.MockTransport(handler))
    mine = service.for_user(service.create_user("me"))
    mine.models()
    service.for_user(User(id=OTHER)).models()
    assert seen == [
        ("/v1/users", "Bearer pseg_svc_x"),
        (f"/v1/users/{USER}/models", "Bearer pseg_usr_y"),
        (f"/v1/users/{OTHER}/models", "Bearer pseg_svc_x"),
    ]


def test_segment_and_mask_ask_for_what_was_wanted() -> None:
    bodies: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            bodies.append(json.loads(request.content))
            return httpx.Response(202, json={"id": JOB, "status": "queued"})
        bodies.append(dict(request.url.params))
        return httpx.Response(200, content=b"png")

    client = client_of(handler)
    assert client.segment([PHOTO, SECOND], model=3, adapt="auto", wait_seconds=2).kind == "segmentation"
    assert client.mask(PHOTO, model="base", format="confidence") == b"png"
    assert bodies[0] == {"image_ids": [PHOTO, SECOND], "model": 3, "adapt": "auto", "wait": 2}
    assert bodies[1] == {"model": "base", "format": "confidence"}


def test_the_gallery_is_paged_lazily() -> None:
    asked: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor")
        asked.append(cursor)
        following = {None: "c1", "c1": "c2", "c2": None}[cursor]
        return httpx.Response(200, json={"items": [{"id": f"after-{cursor}"}], "next_cursor": following})

    images = client_of(handler).iter_images()
    assert next(images).id == "after-None"
    assert asked == [None]
    assert [image.id for image in images] == ["after-c1", "after-c2"]


def test_all_tokens_are_listed_whatever_a_page_holds() -> None:
    asked: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("cursor"))
        return httpx.Response(200, json={"items": [{"id": f"t{len(asked)}"}], "next_cursor": "c1" if len(asked) == 1 else None})

    assert [token.id for token in client_of(handler).tokens()] == ["t1", "t2"]
    assert asked == [None, "c1"]


# Waiting


def job_answers(*states: dict[str, Any]) -> Handler:
    left = list(states)
    return lambda request: httpx.Response(200, json={"id": JOB, **(left.pop(0) if len(left) > 1 else left[0])})


def test_wait_reports_every_document_and_returns_the_last() -> None:
    seen: list[tuple[str, float | None]] = []
    client = client_of(job_answers({"status": "queued"}, {"status": "running", "percent": 40.0}, {"status": "refused", "percent": 100}))
    job = client.wait(Job(id=JOB, kind="adaptation", status="queued"), lambda job: seen.append((job.status, job.percent)))
    assert seen == [("queued", None), ("running", 40.0), ("refused", 100.0)]
    assert job.require_success() is job


def test_waiting_for_a_segmentation_lists_its_photos_once_at_the_end() -> None:
    asked: list[str | None] = []
    documents = [
        {"status": "running", "item_counts": {"pending": 2}},
        {"status": "succeeded"},
        {"status": "succeeded", "items": [{"image_id": PHOTO}]},
    ]

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("items"))
        return httpx.Response(200, json={"id": JOB, **documents.pop(0)})

    job = client_of(handler).wait(Job(id=JOB, kind="segmentation", status="queued"))
    assert [item.image_id for item in job.items] == [PHOTO]
    assert asked == ["false", "false", None]


def test_wait_gives_up_when_told_to() -> None:
    client = client_of(job_answers({"status": "running"}))
    with pytest.raises(WaitTimedOut) as caught:
        client.wait(Job(id=JOB, kind="adaptation", status="queued"), timeout_seconds=0)
    assert caught.value.job.status == "running"


def test_a_failed_job_raises_its_own_code_and_reason() -> None:
    job = Job.model_validate({"id": JOB, "kind": "adaptation", "status": "failed", "error_code": "worker_died", "error_reason": "It died."})
    with pytest.raises(JobFailed, match="It died") as caught:
        job.require_success()
    assert caught.value.code == "worker_died"


# Uploads


class Uploads:
    """Answers upload requests file by file and remembers the file names of each."""

    def __init__(self, reject: str = "", too_large: str = "") -> None:
        self.requests: list[list[str]] = []
        self._reject = reject
        self._too_large = too_large

    def __call__(self, request: httpx.Request) -> httpx.Response:
        parts = request.read().split(b'filename="')[1:]
        names = [part.split(b'"')[0].decode() for part in parts]
        self.requests.append(names)
        if self._too_large in names:
            return problem(413, "request_too_large")
        return httpx.Response(200, json={"results": [self._entry(name) for name in names]})

    def _entry(self, name: str) -> dict[str, Any]:
        if name == self._reject:
            return {"filename": name, "status": "rejected", "code": "not_an_image", "reason": "No image."}
        return {"filename": name, "status": "stored", "image_id": f"id-{name}"}


def files(folder: Path, sizes: dict[str, int]) -> list[Path]:
    for name, size in sizes.items():
        (folder / name).write_bytes(b"x" * size)
    return [folder / name for name in sizes]


def test_uploads_are_bounded_in_files_and_bytes(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a": 10, "b": 10, "c": 10, "d": 95, "e": 200, "f": 0})
    server = Uploads()
    results = client_of(server).upload(paths, batch_files=2, batch_bytes=100)
    assert server.requests == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]
    assert [result.image_id for result in results] == ["id-a", "id-b", "id-c", "id-d", "id-e", "id-f"]


def test_a_bad_file_spoils_no_other(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a": 1, "bad": 1, "c": 1})
    paths.insert(1, tmp_path / "missing")
    seen: list[UploadResult] = []
    results = client_of(Uploads(reject="bad")).upload(paths, on_result=seen.append)
    assert [result.status for result in results] == ["stored", "rejected", "rejected", "stored"]
    assert [result.code for result in results] == [None, "unreadable_file", "not_an_image", None]
    assert seen == results


def test_a_batch_that_is_too_large_is_sent_one_by_one(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a": 1, "huge": 1, "c": 1})
    results = client_of(Uploads(too_large="huge")).upload(paths)
    assert [(result.path.name, result.status) for result in results] == [
        ("a", "stored"),
        ("huge", "rejected"),
        ("c", "stored"),
    ]
    assert results[1].code == "request_too_large"


def test_a_lost_upload_is_sent_again_whole(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a": 5, "b": 5})
    server = Uploads()
    lost, keys = [True], set()

    def handler(request: httpx.Request) -> httpx.Response:
        answer = server(request)
        keys.add(request.headers["idempotency-key"])
        if lost.pop() if lost else False:
            raise httpx.ReadError("reset")
        return answer

    assert [result.status for result in client_of(handler).upload(paths)] == ["stored", "stored"]
    assert server.requests == [["a", "b"], ["a", "b"]]
    assert len(keys) == 1, "the service answers the second as it would have answered the first"


def test_a_zip_is_waited_for_and_sent_again_with_the_same_key(tmp_path: Path) -> None:
    """The answer comes only when all of it is stored: a client that gave up meanwhile would send gigabytes again."""
    (path := tmp_path / "album.zip").write_bytes(b"PK\3\4")
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 1:
            raise httpx.ReadError("reset")
        return httpx.Response(200, json={"results": [{"filename": "a.jpg", "status": "stored", "image_id": "1"}]})

    (result,) = client_of(handler, timeout_seconds=7).upload_zip(path)
    assert (result.path, result.status) == (Path("a.jpg"), "stored")
    assert len({request.headers["idempotency-key"] for request in requests}) == 1
    timeout = requests[1].extensions["timeout"]
    assert timeout["read"] == 3600 and timeout["connect"] == timeout["write"] == 7


def test_a_zip_among_photos_goes_alone_and_answers_for_its_entries(tmp_path: Path) -> None:
    paths = files(tmp_path, dict.fromkeys("ab", 1))
    (path := tmp_path / "Takeout.ZIP").write_bytes(b"PK\3\4")
    server, zips = Uploads(), []
    entries = [
        {"filename": "index.html", "status": "rejected", "code": "not_an_image", "reason": "No picture."},
        {"filename": "Trip/c.jpg", "status": "stored", "image_id": "1"},
    ]

    def handler(request: httpx.Request) -> httpx.Response:
        if request.headers["content-type"] != "application/zip":
            return server(request)
        zips.append(request.read())
        return httpx.Response(200, json={"results": entries})

    results = client_of(handler).upload([paths[0], path, paths[1]])
    assert [(str(result.path), result.status) for result in results] == [
        (str(paths[0]), "stored"), ("index.html", "rejected"), ("Trip/c.jpg", "stored"), (str(paths[1]), "stored"),
    ]  # fmt: skip
    assert zips == [b"PK\3\4"] and server.requests == [["a"], ["b"]]
    missing = tmp_path / "missing.zip"
    assert [(result.path, result.code) for result in client_of(handler).upload(missing)] == [(missing, "unreadable_file")]


def test_an_answer_that_does_not_fit_a_batch_is_asked_for_file_by_file(tmp_path: Path) -> None:
    """As of a zip that this client does not know for one: a later version of the service may unpack other archives, too."""
    paths = files(tmp_path, {"a": 1, "archive": 1, "c": 1})
    requests: list[list[str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        names = [part.split(b'"')[0].decode() for part in request.read().split(b'filename="')[1:]]
        requests.append(names)
        held = [entry for name in names for entry in (["1.jpg", "2.jpg"] if name == "archive" else [name])]
        return httpx.Response(200, json={"results": [{"filename": name, "status": "stored", "image_id": name} for name in held]})

    results = client_of(handler).upload(paths)
    assert [str(result.path) for result in results] == [str(paths[0]), "1.jpg", "2.jpg", str(paths[2])]
    assert requests == [["a", "archive", "c"], ["a"], ["archive"], ["c"]]
    with pytest.raises(BadAnswer, match="no result came back"):
        client_of(lambda request: httpx.Response(200, json={"results": []})).upload(paths)


def test_a_zip_that_is_too_large_spoils_no_other(tmp_path: Path) -> None:
    paths = files(tmp_path, {"a.jpg": 1, "b.jpg": 1})
    paths[1].write_bytes(b"PK\3\4 and gigabytes")
    server = Uploads()

    def handler(request: httpx.Request) -> httpx.Response:
        return problem(413, "body_too_large") if request.headers["content-type"] == "application/zip" else server(request)

    assert [(result.path, result.code) for result in client_of(handler).upload(paths)] == [(paths[0], None), (paths[1], "body_too_large")]


def test_paths_are_taken_lazily(tmp_path: Path) -> None:
    paths = files(tmp_path, dict.fromkeys("abcdef", 1))
    taken: list[str] = []
    server = Uploads()

    def handler(request: httpx.Request) -> httpx.Response:
        assert len(taken) <= 2 * (len(server.requests) + 1) + 1
        return server(request)

    def lazily() -> Any:
        for path in paths:
            taken.append(path.name)
            yield path

    assert len(client_of(handler).upload(lazily(), batch_files=2)) == 6


def test_a_folder_is_sent_nested_by_name_without_what_is_hidden_or_no_photo(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.HEIC", "a/notes.txt", ".hidden.jpg", ".thumbs/t.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    server = Uploads()
    results = client_of(server).upload(str(tmp_path))
    assert [result.path for result in results] == [tmp_path / "b.jpg", tmp_path / "a/z.HEIC"]
    assert len(client_of(server).upload(tmp_path / "b.jpg")) == 1
    client_of(server).upload([tmp_path / "a/z.HEIC"])
    client_of(server).upload([tmp_path / "a/z.HEIC", tmp_path / "b.jpg"], root=tmp_path / "a")
    assert server.requests == [["b.jpg", "a/z.HEIC"], ["b.jpg"], ["z.HEIC"], ["z.HEIC", "b.jpg"]]


@pytest.mark.timeout(60)
def test_a_pipe_is_told_like_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    files(tmp_path, {"a.jpg": 1})
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "z.jpg").symlink_to(tmp_path / "a.jpg")
    results = client_of(Uploads()).upload(tmp_path)
    assert [(result.path.name, result.code) for result in results] == [("a.jpg", None), ("pipe.jpg", "unreadable_file"), ("z.jpg", None)]
    assert sha256_of(tmp_path / "pipe.jpg") == ""


# What is written to this computer


@pytest.mark.parametrize("is_there", [True, False])
def test_an_export_touches_no_file_of_another_name(tmp_path: Path, is_there: bool) -> None:
    files(tmp_path, {"masks.zip": 3, "masks.zip.part": 7})
    answer = httpx.Response(200, content=b"PK") if is_there else problem(404, "image_not_found")
    try:
        client_of(answering(answer)).export(tmp_path / "masks.zip")
    except NotFound:
        assert not is_there
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"masks.zip": 2 if is_there else 3, "masks.zip.part": 7}


def broken_off(first: bytes) -> httpx.Response:
    """An answer whose line breaks, after so many bytes."""

    class Breaks(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from [first] if first else []
            raise httpx.ReadError("reset")

    return httpx.Response(200, stream=Breaks())


def test_an_export_is_asked_for_again_until_its_first_byte_has_come(tmp_path: Path) -> None:
    crowded = problem(429, "too_many_exports")
    crowded.headers["Retry-After"] = "7"
    whole = httpx.Response(200, content=b"PK")
    pauses: list[float] = []
    handler = answering(problem(503, "storage_unavailable"), crowded, httpx.ConnectError("refused"), broken_off(b""), whole)
    assert client_of(handler, pauses).export(tmp_path / "masks.zip").read_bytes() == b"PK"
    assert len(pauses) == 4 and pauses[1] == 7
    (tmp_path / "masks.zip").unlink()
    with pytest.raises(ConnectionFailed):
        client_of(answering(broken_off(b"P"), whole)).export(tmp_path / "masks.zip")
    with pytest.raises(RateLimited):
        client_of(lambda request: crowded, retries=2).export(tmp_path / "masks.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_export_into_a_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        client_of(answering(httpx.Response(200, content=b"PK"))).export(tmp_path)
    assert caught.value.filename == str(tmp_path) and list(tmp_path.parent.glob(".personalseg-*")) == []


# The names of classes


def masks_of(document: dict[str, Any], classes: Handler) -> Handler:
    """A service whose every photo has a mask of 4 × 2 pixels, one row background and one of class 15."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/classes":
            return classes(request)
        if request.url.params.get("format") == "json":
            return httpx.Response(200, json={"base": "tiny", **document})
        return httpx.Response(200, content=mask_png(4, 2, label=15, background_rows=1))

    return handler


def test_a_class_that_no_base_has_is_no_empty_mask() -> None:
    asked: list[str] = []

    def classes(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["base"])
        return httpx.Response(200, json={"items": [{"id": 15, "name": "person"}, {"id": 8, "name": "cat"}]})

    client = client_of(masks_of({"classes": [{"id": 15, "name": "person", "area_share": 0.5}]}, classes))
    for each in (client, client.for_user(OTHER)):
        mask = each.open_mask(PHOTO)
        assert mask.where("person").sum() == 4 and not mask.where("cat").any()
        with pytest.raises(ValueError, match=r"^There is no class 'persn'. There are: person, cat\.$"):
            mask.where("persn")
    assert asked == ["tiny"], "once for a base"


def test_a_service_that_does_not_tell_its_classes_still_gives_masks() -> None:
    busy = httpx.Response(503, json={"code": "no_worker_yet"}, headers={"Retry-After": "5"})
    pauses: list[float] = []
    mask = client_of(masks_of({"classes": []}, lambda request: busy), pauses).open_mask(PHOTO)
    assert not mask.where("persn").any() and pauses == []


@pytest.fixture
def private_service(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTPS server whose certificate is of an authority of its own: its address, and that authority's file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"kind": "user", "user_id": USER, "items": []}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}", tmp_path / "authority.pem"
        server.shutdown()


def test_certificates_of_one_s_own_authority(private_service: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, authority = private_service
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    pauses: list[float] = []
    for ask in (lambda: Client(url, "pseg_usr_x", user_id=USER, sleep=pauses.append).models(), lambda: holder_of(url, "pseg_usr_x")):
        with pytest.raises(ConnectionFailed, match="SSL_CERT_FILE") as caught:
            ask()
        assert (caught.value.code, pauses) == ("untrusted_certificate", []), "asking again would not help"
        assert "Is it running?" not in sentence_of(caught.value)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert Client(url, "pseg_usr_x", user_id=USER).models() == []
    assert holder_of(url, "pseg_usr_x") == USER


def test_the_synchronous_client_is_made_from_the_asynchronous_one(tmp_path: Path) -> None:
    generate(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.glob("*.py")}
    assert made == {path.name: path.read_text() for path in TARGET.glob("*.py")}, "run `make client`"


def test_the_client_imports_neither_torch_nor_numpy() -> None:
    code = "import app.client, app.cli, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
