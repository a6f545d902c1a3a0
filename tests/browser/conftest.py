"""A real browser before a real deployment: Debian's Chromium, driven by Playwright, on the embedded service."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from app.client import Client, User
from app.demo.album import ALBUM, write_album
from app.local import Deployment
from app.page.opening import address_with
from tests.e2e.conftest import deployment_in, own_environment

__all__ = ["own_environment"]

BUSY = '{"code": "database_busy", "detail": "The database is busy."}'
"""The body of a 503."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Where the pictures of every state go, when somebody wants to look at them.
_SHOTS = os.environ.get("BROWSER_SHOTS")
_BROKEN = ("moderate", "serious", "critical")
_PHONE = {"width": 390, "height": 844}
_DESKTOP = {"width": 1360, "height": 860}
_PATIENCE_MILLISECONDS = 120_000


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium; its tests are skipped by name where there is none, except in CI."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        missing = "no Chromium on this machine: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    # As root (a container) Chromium has no sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    arguments.append("--host-resolver-rules=MAP *.test 127.0.0.1")  # a service that is not on this machine, to the browser
    expect.set_options(timeout=_PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="package")
def deployment(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment for all tests with a browser; each test has a user of its own."""
    folder = tmp_path_factory.mktemp("browser-deployment")
    with deployment_in(folder, adaptation_budget_seconds=60.0, worker_fresh_seconds=4.0) as running:
        yield running


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Some photos of the demo's album."""
    wanted = {"people/eileen", "people/grace", "people/photographer", "garage/motorbike", "home/cat", "home/coffee"}
    return write_album(tmp_path_factory.mktemp("album"), [shot for shot in ALBUM if shot.name in wanted])


@pytest.fixture(scope="package")
def service(deployment: Deployment) -> Iterator[Client]:
    """The deployment's own caller."""
    with Client(deployment.base_url, deployment.service_token) as client:
        yield client


@pytest.fixture
def user(service: Client) -> User:
    """A new user."""
    return service.create_user()


@pytest.fixture
def client(service: Client, user: User) -> Iterator[Client]:
    """That user's own caller."""
    with service.for_user(user) as own:
        yield own


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile."""
    made = browser.new_context(viewport=_DESKTOP, accept_downloads=True)
    made.set_default_timeout(_PATIENCE_MILLISECONDS)
    yield made
    made.close()


@dataclass
class Watched:
    """A page and what went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[Watched]:
    """A page in which nothing may throw and no policy may be broken."""
    seen = Watched(context.new_page())
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("console", lambda message: _is_violation(message.text) and seen.errors.append(message.text))
    yield seen
    assert seen.errors == []


def _is_violation(text: str) -> bool:
    return "Content Security Policy" in text or "Content-Security-Policy" in text


@pytest.fixture
def page(watched: Watched) -> Page:
    """That page."""
    return watched.page


@pytest.fixture
def signed_in(page: Page, deployment: Deployment, user: User) -> Page:
    """The page as the signed-in link opens it."""
    assert user.token is not None
    page.goto(address_with(deployment.base_url, user.token))
    return page


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the page says when a test fails goes into its report."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and page is not None:
        try:
            report.sections.append((f"page {page.url}", page.locator("body").inner_text(timeout=5000)))
        except Error as error:
            report.sections.append(("page", f"It could not be read: {error}"))
    return report


Run = Callable[[str, str], Any]


@pytest.fixture
def run(page: Page, deployment: Deployment) -> Run:
    """Run statements in which `m` is a module of the page; what they return comes back."""
    page.goto(deployment.base_url)
    return lambda name, body: page.evaluate(f"async () => {{ const m = await import('/page/{name}.js'); {body} }}")


Check = Callable[[str], None]


@pytest.fixture
def check(page: Page) -> Check:
    """Look at a state: axe in light and dark, nothing wider than a phone; and its pictures, when they are wanted."""

    def look(name: str) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            _require_accessible(page, f"{name}, {scheme}")
            _picture(page, f"{name}-{scheme}")
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.set_viewport_size(_PHONE)  # type: ignore[arg-type]
        _require_accessible(page, f"{name}, phone")
        _picture(page, f"{name}-phone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name}: wider than a phone"
        page.set_viewport_size(_DESKTOP)  # type: ignore[arg-type]

    return look


def _require_accessible(page: Page, state: str) -> None:
    report = Axe().run(page).response
    found = report["violations"]
    if _SHOTS:
        broken = ", ".join(f"{entry['id']} ({entry['impact']})" for entry in found)
        _write_down(f"| {state} | {len(report['passes'])} | {broken or 'none'} |")
    bad = [
        f"{entry['id']} ({entry['impact']}): {entry['nodes'][0]['html'][:160]} — {entry['nodes'][0].get('failureSummary', '')[:300]}"
        for entry in found
        if entry["impact"] in _BROKEN
    ]
    assert bad == [], f"{state}: {bad}"


def _write_down(line: str) -> None:
    Path(str(_SHOTS)).mkdir(parents=True, exist_ok=True)
    with (Path(str(_SHOTS)) / "axe.md").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _picture(page: Page, name: str) -> None:
    if _SHOTS:
        Path(_SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(_SHOTS) / f"{name}.png", animations="disabled")


@pytest.fixture
def upload(page: Page) -> Callable[[list[Path]], None]:
    """Give files to the page as its picker does, and wait until all are through."""

    def send(paths: list[Path]) -> None:
        page.locator("input[data-picker=photos]").set_input_files(paths)
        page.get_by_role("button", name="Close the upload list").wait_for()

    return send


@pytest.fixture
def gallery(signed_in: Page, photos: list[Path], upload: Callable[[list[Path]], None]) -> Page:
    """The page with three photos."""
    expect(signed_in.get_by_role("heading", name="Drop a folder")).to_be_visible()
    upload(photos[:3])
    signed_in.get_by_role("button", name="Close the upload list").click()
    expect(signed_in.locator("[data-photo]")).to_have_count(3)
    return signed_in
