"""The Python examples of the documentation are run, in their order, against a real deployment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.client import Client
from app.local import Deployment

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = ["how-to/python.md", "how-to/formats.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run(page: str, deployment: Deployment, photos: list[Path], tmp_path: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.M | re.S)
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
