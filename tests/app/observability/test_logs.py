"""Every log line of a request carries the request's and the user's id; with `log_json` every line is an object, whoever wrote it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI
from structlog.testing import capture_logs

from app import prepare
from app.log import configure_logging
from app.settings import Settings
from tests.app.conftest import Caller
from tests.conftest import free_port
from tests.waiting import within

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


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_what_a_library_logs_is_a_json_line_as_well(capsys: pytest.CaptureFixture[str], level: str) -> None:
    configure_logging(level, as_json=True)
    try:
        with structlog.contextvars.bound_contextvars(job_id="j1"):
            logging.getLogger("some.library").warning("no %s", "connection")
        try:
            raise OSError("gone")
        except OSError:
            logging.getLogger("some.library").exception("it ended")
    finally:
        configure_logging()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["logger"]) for line in lines] == [
        *([("no connection", "warning", "some.library")] if level == "INFO" else []),
        ("it ended", "error", "some.library"),
    ]
    assert lines[0].get("job_id") == ("j1" if level == "INFO" else None)
    assert "OSError: gone" in lines[-1]["exception"] and all("timestamp" in line for line in lines)


def test_the_api_writes_a_json_object_a_line_from_its_start_to_its_end(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "PERSONALSEG_DATA_DIR": str(tmp_path / "data"), "PERSONALSEG_LOG_JSON": "true"}
    prepare.prepare(Settings(data_dir=tmp_path / "data"))
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", str(port)]
    with (tmp_path / "log").open("w") as log_file:
        api = subprocess.Popen(command, env=environment, stdout=log_file, stderr=log_file)
    try:
        assert within(60.0, lambda: "startup complete" in (tmp_path / "log").read_text())
        assert httpx.get(f"http://127.0.0.1:{port}/v1/users/me").status_code == 401
    finally:
        api.terminate()
        api.wait(30.0)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = {line["event"] for line in lines}
    assert {"Application startup complete.", "request", "Application shutdown complete."} <= told
    assert all("timestamp" in line for line in lines)
