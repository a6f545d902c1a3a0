"""Schemathesis over the whole OpenAPI document: examples, coverage of each constraint, random requests, chains of requests.

Once with the ids of a real user, so that the requests reach something, and once with ids of its own choice.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.service import FuzzedService

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
    "use_after_free",
    "missing_required_header",
)
# Deliberate answers of the service: no worker makes the mask in time here, and requests may set a quota of nothing.
EXPECTED_STATUSES = ["2xx", "3xx", "4xx", "504", "507"]
# Would end the campaign's own user.
SPARED = ("DELETE /v1/users/{user_id}",)


def run(service: FuzzedService, *, seconds: int, examples: int, seed: int, real_ids: bool) -> tuple[int, str]:
    """One run; the exit code of Schemathesis (0 = nothing found) and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "schemathesis.toml")
        config.write_text(_config(service, real_ids=real_ids))
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
            *("run", f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {service.service_token}"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"),
            *("--suppress-health-check", "all", "--no-color", "--request-timeout", "30", "--warnings", "off"),
        ]
        if seconds:
            command += ["--max-time", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    return done.returncode, done.stdout + done.stderr


def _config(service: FuzzedService, *, real_ids: bool) -> str:
    lines = ["[checks.not_a_server_error]", f"expected-statuses = {EXPECTED_STATUSES}"]
    for name in SPARED:
        lines += ["[[operations]]", f'include-name = "{name}"', "enabled = false"]
    if real_ids:
        user_id, image_id, version = (service.ids[name] for name in ("user_id", "image_id", "version"))
        real = ["[parameters]", f'"path.user_id" = "{user_id}"', f'"path.image_id" = "{image_id}"', f'"path.version" = {version}']
        lines = real + lines
        for kind in ("adaptation", "segmentation"):
            job_id = service.ids[f"{kind}_id"]
            lines += ["[[operations]]", f'include-path-regex = "/{kind}s/"', f'parameters = {{ "path.job_id" = "{job_id}" }}']
    return "\n".join(lines)
