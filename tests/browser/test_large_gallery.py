"""Two thousand photos: all of them have their place in the page, few of them are fetched and held."""

from __future__ import annotations

import hashlib
import re

import pytest
from playwright.sync_api import Page, Request, expect

from app.client import User
from app.db import Database
from app.local import Deployment
from app.storage import Storage, photo_key
from app.tables import Image
from tests.app.photos import jpeg

PHOTOS = 2000
MOST_HELD = 600  # as thumbnails.js says
# Two screens and what lies 800 px around them.
MOST_AT_FIRST = 250


@pytest.fixture
def large_gallery(deployment: Deployment, user: User) -> None:
    """Rows and blobs as uploads leave them; two thousand requests would take minutes."""
    storage = Storage(deployment.settings.storage_url)
    database = Database(deployment.settings.database_url)
    rows = []
    for number in range(PHOTOS):
        content = jpeg(16, 12, seed=number)
        sha256 = hashlib.sha256(content).hexdigest()
        storage.put_bytes(photo_key(user.id, sha256), content)
        facts = {"filename": f"{number:04}.jpg", "media_type": "image/jpeg", "byte_size": len(content), "width": 16, "height": 12}
        rows.append(Image(user_id=user.id, sha256=sha256, **facts))
    with database.write() as session:
        session.add_all(rows)
    database.close()


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
