"""Two thousand photos: all of them have their place in the page, few of them are fetched and held."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from app.client import Client, User
from app.local import Deployment
from tests.app.photos import jpeg

PHOTOS = 2000
MOST_HELD = 600  # as thumbnails.js says
# Two screens and what lies 800 px around them.
MOST_AT_FIRST = 250


@pytest.fixture
def large_gallery(client: Client, tmp_path: Path) -> None:
    paths = []
    for number in range(PHOTOS):
        path = tmp_path / f"{number:04}.jpg"
        path.write_bytes(jpeg(16, 12, seed=number))
        paths.append(path)
    assert all(result.status == "stored" for result in client.upload(paths))


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("large_gallery")
def test_two_thousand_photos(page: Page, deployment: Deployment, user: User) -> None:
    fetched: list[str] = []

    def note(request: Request) -> None:
        if "/thumbnail" in request.url:
            fetched.append(request.url)

    page.on("request", note)
    page.goto(f"{deployment.base_url}/#token={user.token}")
    expect(page.locator("[data-photo]")).to_have_count(PHOTOS)
    page.locator("[data-photo] img[src]").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert 0 < len(fetched) < MOST_AT_FIRST

    # To the end with the keyboard: what lies between is not fetched.
    page.locator("[data-photo]").first.focus()
    page.keyboard.press("End")
    last = page.locator("[data-photo]").last
    expect(last).to_be_focused()
    expect(last.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    page.wait_for_load_state("networkidle")
    assert len(fetched) < 2 * MOST_AT_FIRST

    # Through all of it: never more than so many are held.
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 1200):
        page.evaluate("top => scrollTo(0, top)", top)
        page.wait_for_timeout(60)
    assert page.locator("[data-photo] img[src]").count() <= MOST_HELD + MOST_AT_FIRST
