"""The examples of the documentation are run, in their order, against a real deployment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Signer

from app.client import Client
from app.local import Deployment

DOCS = Path(__file__).parent.parent.parent / "docs"
HTTP = DOCS / "how-to" / "http.md"
PAGES = ["how-to/python.md", "how-to/formats.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run(page: str, deployment: Deployment, photos: list[Path], tmp_path: Path) -> None:
    text = (DOCS / page).read_text("utf-8").replace("budget_seconds=20", "budget_seconds=6")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert examples
    (tmp_path / "photos").mkdir()
    for photo in photos:
        (tmp_path / "photos" / photo.name).write_bytes(photo.read_bytes())
    with Client(deployment.base_url, deployment.service_token) as service:
        user = service.create_user()
        service.for_user(user).upload(tmp_path / "photos")
    environment = {
        **os.environ,
        "PERSONALSEG_URL": deployment.base_url,
        "PERSONALSEG_TOKEN": str(user.token),
        "SERVICE_URL": deployment.base_url,
        "SERVICE_TOKEN": deployment.service_token,
        "PYTHONPATH": str(DOCS.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", HTTP], ids=lambda page: page.name)
def test_the_shell_examples_run(page: Path, deployment: Deployment, photos: list[Path], tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    blocks = [block for block in blocks if "curl" in block or "SERVICE=" in block]
    assert blocks
    for name, photo in zip(("one.jpg", "three.jpg"), photos, strict=False):
        shutil.copy(photo, tmp_path / name)
    shutil.make_archive(str(tmp_path / "album"), "zip", photos[0].parent)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "service-token").write_text(deployment.service_token)
    script = "\n".join(blocks).replace("http://127.0.0.1:8000", deployment.base_url).replace('"budget_seconds": 20', '"budget_seconds": 6')
    script = script.replace('"ann"', f'"{page.name}-{time.time_ns()}"')
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'rejected":0' in done.stdout.replace(" ", "")
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")
    if page == HTTP:
        assert re.search(r"(succeeded|refused)$", done.stdout, re.M)
        assert "whsec_" in done.stdout
        assert "/v1/erasures/" in done.stdout


def test_the_example_checks_signatures() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", HTTP.read_text("utf-8"), re.M | re.S)
    names: dict[str, object] = {}
    exec(example, names)
    is_ours = names["is_ours"]
    assert callable(is_ours)
    secret, now, body = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0", datetime.now(UTC), b'{"type": "adaptation.succeeded"}'
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": f"v1,AAAA {Signer(secret).sign('1', now, body.decode())}",
    }
    assert is_ours(secret, headers, body)
    assert not is_ours(secret, headers, body + b" ")
    assert not is_ours(secret, headers | {"webhook-id": "2"}, body)
