"""`python -m tools.screenshots`: the pictures in docs/screenshots, of the real page after the shipped base has adapted to the album.

Needs Chromium and some minutes on a machine that does nothing else: the adaptation has the budget that users have.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.client import Client
from app.demo.album import write_album
from app.local import Deployment
from app.page.opening import address_with

TARGET = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
DESKTOP, PHONE = (1360, 860), (390, 844)
QUALITY = 85
PATIENCE_MILLISECONDS = 60_000


def main() -> None:
    """A service, an album, a model, and its page in every state that the documents show."""
    TARGET.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with (
        tempfile.TemporaryDirectory() as folder,
        Deployment(Path(folder) / "service", quiet=True) as service,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with Client(service.base_url, service.service_token) as everybody:
            ada = everybody.create_user("ada")
            with everybody.for_user(ada) as client:
                address = address_with(service.base_url, str(ada.token))
                with_page(browser, address, take_welcome)
                list(client.upload(write_album(Path(folder) / "album")))
                job = client.wait(client.adapt())
                print(job.report["verdict"])  # type: ignore[index]  # noqa: T201 - for who runs it
                for model in ("personal", "base"):
                    client.wait(client.segment("all", model=model))
                changed_most = job.report["photos_compared"][0]["id"]  # type: ignore[index]
                for taking in (take_gallery, take_models, partial(take_viewer, changed_most)):
                    with_page(browser, address, taking)
        browser.close()


def with_page(browser: Browser, address: str, taking: Callable[[Page], None]) -> None:
    """A fresh profile at that address."""
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    taking(page)
    context.close()


def take_welcome(page: Page) -> None:
    """Before there is a photo."""
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    take(page, "welcome")


def take_gallery(page: Page) -> None:
    """The photos in their groups, with the model's card."""
    expect(page.get_by_role("heading", name="Your model")).to_be_visible()
    page.wait_for_function("() => [...document.querySelectorAll('[data-photo] img')].slice(0, 8).every((image) => image.naturalWidth)")
    take(page, "gallery")
    take(page, "gallery-phone", phone=True)


def take_models(page: Page) -> None:
    """The verdict, before and after."""
    page.get_by_role("button", name="Before and after").click()
    expect(page.get_by_role("dialog").locator(".lead")).to_be_visible()
    page.wait_for_timeout(1000)
    take(page, "models")


def take_viewer(image_id: str, page: Page) -> None:
    """That photo, large."""
    page.locator(f"[data-photo='{image_id}']").click()
    expect(page.get_by_role("slider", name="Compare")).to_be_visible()
    page.locator(".legend-row").first.wait_for()
    page.wait_for_timeout(1000)
    take(page, "viewer")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    take(page, "viewer-dark")
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    take(page, "viewer-phone", phone=True)


def take(page: Page, name: str, *, phone: bool = False) -> None:
    """One picture, as JPEG."""
    width, height = PHONE if phone else DESKTOP
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(300)
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as picture:
        picture.convert("RGB").save(TARGET / f"{name}.jpg", quality=QUALITY)
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})


if __name__ == "__main__":
    main()
