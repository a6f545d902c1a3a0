"""What the export says where photos have no masks yet, and where the connection breaks off."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from app.client import Client
from app.local import Deployment
from tests.browser.conftest import Run


def exported(page: Page) -> int:
    """How many photos the zip speaks of that the page gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download Pascal VOC").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        return len(json.loads(archive.read("photos.json")))


def test_photos_without_a_mask_are_counted_and_their_masks_made(signed_in: Page, client: Client, photos: list[Path]) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    client.upload(photos[:3])
    page.reload()
    page.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Download COCO", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("No photo has a mask yet.")
    client.wait(client.segment([client.images()[0].id], model="base", adapt="never"))
    assert exported(page) == 1
    expect(page.get_by_text("2 photos have no mask yet and are not in the zip.")).to_be_visible()
    page.get_by_role("button", name="Make the missing masks").click()
    expect(page.get_by_role("heading", name="Segmenting")).to_be_visible()
    expect(page.get_by_role("heading", name="Segmenting")).to_be_hidden()
    page.get_by_role("button", name="Export").click()
    assert exported(page) == 3
    expect(page.get_by_text("Done:")).to_be_visible()
    expect(page.get_by_text("no mask yet")).to_be_hidden()


def test_a_token_that_may_only_read_is_offered_no_masks(page: Page, client: Client, deployment: Deployment, photos: list[Path]) -> None:
    client.upload(photos[:2])
    token = client.create_token(scope="read_only").token
    page.goto(f"{deployment.base_url}/#token={token}")
    page.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Download COCO", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("No photo has a mask yet.")
    expect(page.get_by_role("button", name="Make the missing masks")).to_be_hidden()


BROKEN = """
  const stopped = new AbortController();
  let asked = null;
  const body = new ReadableStream({ pull: (stream) => stream.error(new TypeError("network error")) });
  const send = async (method, path, { signal }) => {
    asked = signal;
    return new Response(body);
  };
  const app = { api: { send }, path: "users/1", stopped, work: { isBusy: false } };
  m.showExport(app);
  document.querySelector("dialog .format button").click();
  await new Promise((resolve) => setTimeout(resolve, 200));
"""


def test_an_export_that_breaks_off_is_said_to_have(run: Run, page: Page) -> None:
    run("exporting", BROKEN)
    expect(page.get_by_role("alert")).to_have_text("The connection broke off, and nothing was saved. Try again.")


def test_an_export_ends_with_its_session(run: Run) -> None:
    assert run("exporting", f"{BROKEN} stopped.abort(); return asked?.aborted;")
