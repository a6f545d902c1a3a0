"""`demo --open` to its end: the report is written, the browser is led to the page with the photos and their model, Ctrl-C ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Check
from tests.interrupts import heed_interrupts

pytestmark = pytest.mark.xdist_group("trains")  # not side by side with another that waits for a model
_PATIENCE_SECONDS = 240.0


@contextmanager
def demo(photos: Path, out: Path, browser: Path) -> Iterator[subprocess.Popen[str]]:
    """The command itself; `browser` is what it starts instead of one with a window."""
    command = [sys.executable, "-m", "app.cli", "demo", str(photos), "--out", str(out), "--budget", "40", "--open", "--json"]
    environment = os.environ | {"BROWSER": str(browser)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(path: Path, process: subprocess.Popen[str]) -> str:
    """What stands in the file, as soon as it is there."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not path.exists() or not path.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.2)
    return path.read_text().strip()


def test_the_demo_opens_the_page_at_its_end(page: Page, photos: list[Path], check: Check, tmp_path: Path) -> None:
    opened, browser, out = tmp_path / "opened", tmp_path / "browser", tmp_path / "out"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{opened}"\n')
    browser.chmod(0o700)
    with demo(photos[0].parents[1], out, browser) as process:
        address = wait_for(opened, process)
        assert (out / "report.html").stat().st_size > 0
        assert address.startswith("file://") and "pseg_" not in address
        page.goto(address)
        expect(page.locator("[data-photo]")).to_have_count(len(photos))
        expect(page.locator("aside .badge")).to_have_text("Version 1 in use")
        check("demo-opened")
        process.send_signal(signal.SIGINT)
        document, said = process.communicate(timeout=_PATIENCE_SECONDS)
    assert process.returncode == 0, said
    assert "The page stays until Ctrl-C." in said
    told = json.loads(document)
    assert told["out"] == str(out)
    assert told | {"out": ""} == json.loads((out / "report.json").read_text()) | {"out": ""}
