"""Every log line of a request carries the request's and the user's id."""

from __future__ import annotations

import httpx
import pytest
import structlog
from fastapi import FastAPI
from structlog.testing import capture_logs

from app.log import configure_logging
from tests.app.conftest import Caller

log = structlog.get_logger()


@pytest.mark.parametrize(
    ("path", "level"), [("/healthz", "debug"), ("/readyz?check=database", "debug"), ("/readyz", "info"), ("/metrics", "info")]
)
def test_only_a_probe_that_is_well_is_told_at_debug(api: FastAPI, anonymous: httpx.Client, path: str, level: str) -> None:
    configure_logging("DEBUG")
    try:
        with capture_logs() as lines:
            answer = anonymous.get(path)
    finally:
        configure_logging()
    assert (answer.status_code < 400) == (level == "debug")  # no worker is there, and no token was sent
    assert [line["log_level"] for line in lines if line["event"] == "request"] == [level]


def test_lines_inside_a_request_carry_its_ids(api: FastAPI, anonymous: httpx.Client, alice: Caller) -> None:
    @api.get("/v1/probe/{user_id}/{name}")
    def probe(user_id: str, name: str) -> None:  # in a thread, as most routes are
        log.info("inside")

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answer = anonymous.get(f"/v1/probe/{alice.user_id}/secret-name", headers={"X-Request-ID": "mine-1"})
        anonymous.get("/v1/classes")
    assert answer.status_code == 200
    (line,) = [line for line in lines if line["event"] == "inside"]
    assert (line["request_id"], line["user_id"]) == ("mine-1", alice.user_id)
    assert "secret-name" not in str(lines)
    (other,) = [line for line in lines if line.get("route") == "/v1/classes"]
    assert "user_id" not in other and other["request_id"] != "mine-1"
