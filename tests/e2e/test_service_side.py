"""What real workers do between users and by themselves: turns, adaptations after uploads, webhooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from app.client import Client
from app.local import Deployment
from tests.e2e.conftest import deployment_in, new_user, within

SETTINGS = {
    "segmentation_turn_seconds": 0.05,
    "auto_adapt_quiet_seconds": 1.0,
    "webhook_allow_private": True,
    "adaptation_budget_seconds": 3.0,
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment_in(tmp_path_factory.mktemp("service-side"), **SETTINGS) as running:
        yield running


def ask(deployment: Deployment, user: Client, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {deployment.service_token}"}
    answer = httpx.request(method, f"{deployment.base_url}/v1/users/{user.user_id}/{path}", headers=headers, json=body)
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture
def received() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """The URL of a real HTTP server, and what it has been sent."""
    messages: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(
                ({name.lower(): value for name, value in self.headers.items()}, self.rfile.read(int(self.headers["content-length"])))
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_address[1]}/hook", messages
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_long_segmentation_and_many_jobs_let_another_user_through(deployment: Deployment, photos: list[Path]) -> None:
    ann, bea = new_user(deployment), new_user(deployment)
    for user in (ann, bea):
        user.upload(photos)
    long = [ann.segment("all", model="base", adapt="never") for _ in range(12)]
    (first,) = bea.images()[:1]
    other = bea.segment([first.id], model="base", adapt="never")
    assert bea.wait(other, timeout_seconds=200).status == "succeeded"
    for job in long:
        done = ann.wait(job, timeout_seconds=300)
        assert (done.status, done.attempt, {item.status for item in done.items}) == ("succeeded", 1, {"done"})
    came = ask(deployment, bea, "GET", f"segmentations/{other.id}")
    ended = [str(ask(deployment, ann, "GET", f"segmentations/{job.id}")["finished_at"]) for job in long]
    between = [at for at in ended if came["created_at"] < at < came["started_at"]]
    assert len(between) <= 1, "of the jobs in line, none but the running one goes first"
    assert sum(at > came["finished_at"] for at in ended) >= 2


def test_an_adaptation_starts_by_itself_and_its_end_is_told(
    deployment: Deployment, photos: list[Path], received: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, messages = received
    user = new_user(deployment)
    secret = str(ask(deployment, user, "PUT", "webhook", {"url": url})["secret"])
    ask(deployment, user, "PATCH", "settings", {"auto_adapt": True})
    user.upload(photos)
    assert within(60, lambda: len(messages) == 1)
    headers, body = messages[0]
    told = Webhook(secret).verify(body, headers)
    assert told["type"] in {"adaptation.succeeded", "adaptation.refused"}
    assert told["data"]["user_id"] == user.user_id
