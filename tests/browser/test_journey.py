"""The whole way of a person, on real photos: add, personalise, compare, export, delete, erase."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from pycocotools.coco import COCO

from app.client import Client, ExportFormat, User
from app.local import Deployment
from tests.browser.conftest import Check

pytestmark = pytest.mark.xdist_group("trains")  # not side by side with another that waits for a model
LEGEND_ROWS = ".legend-row"
EXPORTS = {
    "COCO": "coco",
    "COCO panoptic": "coco-panoptic",
    "Pascal VOC": "voc",
    "Label Studio": "labelstudio",
    "Confidence": "confidence",
}


def test_the_whole_journey(signed_in: Page, client: Client, photos: list[Path], upload, check: Check, tmp_path: Path) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder of your photos here")).to_be_visible()
    assert "token" not in page.url
    check("welcome")

    bad = tmp_path / "holiday.jpg"
    bad.write_text("these are no pixels")
    upload([*photos, bad])
    expect(page.locator(".tray [data-status=rejected]")).to_contain_text("holiday.jpg")
    expect(page.locator(".tray [data-status=stored]")).to_have_count(len(photos))
    expect(page.locator("[data-photo]")).to_have_count(len(photos))
    expect(page.locator("[data-photo] img[src^='blob:']")).to_have_count(len(photos))
    check("gallery-new")
    page.get_by_role("button", name="Close the upload list").click()

    personalise(page, check)
    look_at_a_photo(page, check, tmp_path)
    look_at_the_models(page, client, check)
    go_between_versions(page, client, check)
    export(page, check, tmp_path, len(photos))
    delete_a_photo(page, client, check, len(photos))
    erase_me(page, client, check)


def personalise(page: Page, check: Check) -> None:
    page.get_by_role("button", name="Personalise").click()
    bar = page.get_by_role("progressbar", name="Progress")
    expect(bar).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    check("personalising")
    expect(page.get_by_role("heading", name="Personalising")).to_be_hidden()
    expect(page.get_by_role("heading", name=re.compile("Your model|Base, photos corrected"))).to_be_visible()
    expect(bar).to_be_hidden()
    expect(page.locator("aside .badge")).to_have_text("Version 1 in use")
    check("gallery")


def look_at_a_photo(page: Page, check: Check, tmp_path: Path) -> None:
    first = page.locator("[data-photo]").first
    first.focus()
    page.keyboard.press("ArrowRight")
    second = page.locator("[data-photo]").nth(1)
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_text("2 of 6", exact=True)).to_be_visible()
    slider = viewer.get_by_role("slider", name="Compare")
    expect(slider).to_be_visible()
    check("viewer")

    slider.focus()
    page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "Base only")
    assert clipping(page, "personal") == "inset(0px 0px 0px 100%)"
    page.keyboard.press("Home")
    assert clipping(page, "personal") == "inset(0px 0px 0px 0%)"
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "1 % base, 99 % personal")
    expect(viewer.get_by_text("2 of 6", exact=True)).to_be_visible()  # inside the slider the arrows are its own

    isolate_a_class(page)
    viewer.get_by_label("Confidence").check()
    expect(viewer.get_by_text("unsure")).to_be_visible()
    check("viewer-confidence")
    viewer.get_by_label("Changes").check()
    expect(slider).to_be_hidden()
    check("viewer-changes")
    viewer.get_by_label("Photo", exact=True).check()
    expect(page.locator(".layer").first).to_be_hidden()
    check("viewer-photo")
    viewer.get_by_label("Classes").check()
    viewer.get_by_label("Overlay").fill("40")
    assert page.locator("[data-layer=personal]").evaluate("layer => getComputedStyle(layer).opacity") == "0.4"

    with page.expect_download() as download:
        viewer.get_by_role("button", name="Personal mask").click()
    with Image.open(download.value.path()) as mask:
        shown = page.locator(".frame > img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert (mask.mode, list(mask.size)) == ("P", shown)

    viewer.get_by_role("button", name="Close").focus()
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_text("3 of 6", exact=True)).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(viewer.get_by_text("2 of 6", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(second).to_be_focused()


def clipping(page: Page, layer: str) -> str:
    return str(page.locator(f"[data-layer={layer}]").evaluate("layer => getComputedStyle(layer).clipPath"))


def isolate_a_class(page: Page) -> None:
    """Choosing a class leaves its pixels alone; choosing it again brings the others back."""
    page.locator(LEGEND_ROWS).first.wait_for()
    before = painted(page)
    row = page.locator(LEGEND_ROWS).last
    row.click()
    expect(row).to_have_attribute("aria-pressed", "true")
    if page.locator(LEGEND_ROWS).count() > 1:
        assert painted(page) < before
    row.click()
    expect(row).to_have_attribute("aria-pressed", "false")
    assert painted(page) == before


def painted(page: Page) -> int:
    count = """layers => layers.reduce((sum, layer) => {
      if (!layer.width) return sum;
      const { data } = layer.getContext("2d").getImageData(0, 0, layer.width, layer.height);
      for (let at = 3; at < data.length; at += 4) sum += data[at] > 0;
      return sum;
    }, 0)"""
    return int(page.locator(".layer").evaluate_all(count))


def look_at_the_models(page: Page, client: Client, check: Check) -> None:
    (model,) = client.models()
    page.get_by_role("button", name="Before and after").click()
    sheet = page.get_by_role("dialog")
    expect(sheet.locator(".lead")).to_contain_text("%")
    expect(sheet.locator(".lead")).to_have_text(str(model.report["verdict"]["sentence"]))  # type: ignore[index]
    check("models")
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)


def go_between_versions(page: Page, client: Client, check: Check) -> None:
    """A second model; back to the first one, and away with the second: the page shows each at once, the service agrees."""
    in_use = page.locator("aside .badge")
    page.get_by_role("button", name="Personalise again").click()
    expect(in_use).to_have_text("Version 2 in use")
    expect(page.get_by_role("progressbar", name="Progress")).to_be_hidden()
    page.get_by_role("button", name="Before and after").click()
    sheet = page.get_by_role("dialog", name="Your models")
    first, second = sheet.locator("[data-version='1']"), sheet.locator("[data-version='2']")
    expect(second).to_have_attribute("aria-pressed", "true")

    first.click()
    expect(first).to_have_attribute("aria-pressed", "true")
    check("models-versions")
    sheet.get_by_role("button", name="Use version 1").click()
    expect(first).to_contain_text("In use")
    expect(second).not_to_contain_text("In use")
    expect(in_use).to_have_text("Version 1 in use")
    assert [(model.version, model.active) for model in client.models()] == [(2, False), (1, True)]

    second.click()
    sheet.get_by_role("button", name="Delete").click()
    check("delete-version")
    page.get_by_role("button", name="Cancel").click()
    expect(second).to_be_visible()
    sheet.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete version").click()
    expect(second).to_have_count(0)
    expect(first).to_have_attribute("aria-pressed", "true")
    assert [(model.version, model.active) for model in client.models()] == [(1, True)]
    page.keyboard.press("Escape")
    expect(in_use).to_have_text("Version 1 in use")


def exported_photos(archive: zipfile.ZipFile, format: str, tmp_path: Path) -> int:
    """How many photos the zip speaks of."""
    if format == "coco":
        return len(COCO(archive.extract("annotations.json", tmp_path)).imgs)
    if format == "coco-panoptic":
        return len(json.loads(archive.read("panoptic.json"))["annotations"])
    if format == "labelstudio":
        return len(json.loads(archive.read("tasks.json")))
    if format == "voc":
        return len(json.loads(archive.read("photos.json")))
    return sum(name.endswith(".png") for name in archive.namelist())


def export(page: Page, check: Check, tmp_path: Path, count: int) -> None:
    page.get_by_role("button", name="Export").click()
    check("export")
    assert set(EXPORTS.values()) == set(get_args(ExportFormat))
    expect(page.get_by_role("button", name="Download")).to_have_count(len(EXPORTS))
    for name, format in EXPORTS.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {name}", exact=True).click()
        assert download.value.suggested_filename == f"personalseg-{format}.zip"
        with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
            assert exported_photos(archive, format, tmp_path) == count, name
    page.keyboard.press("Escape")


def delete_a_photo(page: Page, client: Client, check: Check, count: int) -> None:
    page.locator("[data-photo]").first.click()
    page.get_by_role("button", name="Delete this photo").click()
    check("delete-photo")
    page.get_by_role("button", name="Delete photo").click()
    expect(page.get_by_role("dialog").get_by_text(f"1 of {count - 1}", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("[data-photo]")).to_have_count(count - 1)
    assert len(client.images()) == count - 1


def erase_me(page: Page, client: Client, check: Check) -> None:
    page.get_by_role("button", name="Your account").click()
    expect(page.locator(".menu")).to_contain_text(re.compile(r"5 photos · \d+ kB"))
    check("account")
    page.get_by_role("button", name="Erase me").click()
    erase = page.get_by_role("button", name="Erase everything")
    expect(erase).to_be_disabled()
    check("erase")
    page.get_by_label(re.compile("to confirm")).fill("erase")
    erase.click()
    expect(page.get_by_role("heading", name="Your photos, your model")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_signing_in_with_a_service_token(page: Page, deployment: Deployment, user: User, check: Check) -> None:
    page.goto(deployment.base_url)
    token = page.get_by_label("Token")
    token.fill("pseg_usr_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is unknown, expired or revoked.")
    check("sign-in")
    token.fill(deployment.service_token)
    page.keyboard.press("Enter")
    page.get_by_label("New user").fill("ada")
    expect(page.get_by_role("button", name=f"Unnamed, …{user.id[-8:]}")).to_be_visible()
    check("users")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    held = page.evaluate("JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie])")
    assert deployment.service_token not in held
    page.reload()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").fill(deployment.service_token)
    page.keyboard.press("Enter")
    page.get_by_role("button", name=re.compile("^ada")).click()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
