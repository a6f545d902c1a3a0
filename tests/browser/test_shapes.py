"""Photos and screens of unusual shapes, high contrast, and keys that belong to the browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Run
from tests.browser.test_modules import GALLERY
from tests.browser.test_viewer import APP

PHONE = {"width": 390, "height": 844}
SIDEWAYS = {"width": 844, "height": 390}
LARGE_ZOOM = {"width": 340, "height": 215}  # 1360 × 860 at 400 %
SHAPED = """
  Object.assign(canvas, { width: WIDTH, height: HEIGHT });
  const shaped = await new Promise((resolve) => canvas.toBlob(resolve));
  api.blob = async () => shaped;
"""


def box(found: Locator) -> dict[str, float]:
    """Its place on the screen."""
    made = found.bounding_box()
    assert made is not None
    return {"left": made["x"], "right": made["x"] + made["width"], "top": made["y"], "bottom": made["y"] + made["height"]}


@pytest.mark.parametrize(("width", "height"), [(2, 400), (400, 4), (40, 30)])
@pytest.mark.parametrize("screen", [PHONE, SIDEWAYS, LARGE_ZOOM])
def test_each_side_of_a_photo_has_its_own_label(run: Run, page: Page, screen: dict[str, int], width: int, height: int) -> None:
    page.set_viewport_size(screen)  # type: ignore[arg-type]
    run("viewer", f"{APP}{SHAPED} open();".replace("WIDTH", str(width)).replace("HEIGHT", str(height)))
    tags = page.locator(".tags span")
    expect(tags.first).to_be_visible()
    base, personal, frame = box(tags.first), box(tags.last), box(page.locator(".frame"))
    middle = (frame["left"] + frame["right"]) / 2
    assert base["right"] <= middle <= personal["left"]
    assert base["left"] >= 0
    assert personal["right"] <= screen["width"]


@pytest.mark.parametrize("screen", [SIDEWAYS, LARGE_ZOOM])
def test_a_photo_is_large_where_the_screen_is_low(run: Run, page: Page, screen: dict[str, int]) -> None:
    page.set_viewport_size(screen)  # type: ignore[arg-type]
    run("viewer", f"{APP} open();")
    expect(page.locator(".legend-row")).to_have_count(1)
    frame = box(page.locator(".frame"))
    assert frame["bottom"] - frame["top"] >= 200
    side = page.locator(".side")
    assert side.evaluate("side => side.scrollWidth <= side.clientWidth")
    delete = page.get_by_role("button", name="Delete this photo")
    delete.scroll_into_view_if_needed()
    expect(delete).to_be_in_viewport()


def test_the_menu_is_reached_at_a_large_zoom(run: Run, page: Page) -> None:
    page.set_viewport_size(LARGE_ZOOM)  # type: ignore[arg-type]
    body = """
      const bar = document.getElementById("bar");
      const opener = bar.appendChild(document.createElement("button"));
      const menu = m.accountMenu({ user: { external_id: "a-name-without-a-space-".repeat(8) }, images: [] }, opener);
      bar.append(menu);
      menu.showPopover();
    """
    run("menu", body)
    erase = page.get_by_role("button", name="Erase me")
    erase.scroll_into_view_if_needed()
    expect(erase).to_be_in_viewport()
    menu = box(page.locator(".menu"))
    assert menu["left"] >= 0
    assert menu["bottom"] <= LARGE_ZOOM["height"]


def test_figures_say_what_they_are_on_a_phone(run: Run, page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    body = """
      const shares = { area_before: 0.404, area_after: 0.399, mirror_iou_before: 0.9, mirror_iou_after: 0.89 };
      const entry = { name: "background", ...shares, reason: "As before." };
      const report = { classes: [entry], photos: 4, photos_learned_from: 3 };
      const model = { version: 1, active: true, base: "espnetv2", byte_size: 1000, created_at: "2026-03-01T10:00:00Z", report };
      m.showModels({ models: [model], activeModel: model, photo: () => null });
    """
    run("models", body)
    figures = page.locator("td.numbers")
    said = figures.evaluate_all("cells => cells.map((cell) => getComputedStyle(cell, '::before').content)")
    assert said == ['"Area"', '"Agreement with the mirrored photo"']
    assert page.locator(".scroll").evaluate("place => place.scrollWidth <= place.clientWidth")


def test_what_is_chosen_is_seen_in_high_contrast(run: Run, page: Page) -> None:
    page.emulate_media(forced_colors="active")
    run("viewer", f"{APP} open();")
    row = page.locator(".legend-row")
    row.click()
    look = "element => { const { backgroundColor, outlineStyle } = getComputedStyle(element); return [backgroundColor, outlineStyle]; }"
    chosen, other = (page.locator(".pill-group label").nth(at).evaluate(look) for at in (0, 1))
    assert chosen[0] != other[0]
    page.locator(".side").hover()
    assert row.evaluate(look)[1] == "solid"
    swatch = page.locator(".swatch").evaluate("swatch => getComputedStyle(swatch).backgroundColor")
    assert swatch == "rgb(64, 0, 0)"


def test_progress_is_seen_in_high_contrast(run: Run, page: Page) -> None:
    page.emulate_media(forced_colors="active")
    bar = "const bar = m.el('div', { class: 'progress', id: 'bar-under-test' }, m.el('i')); document.body.append(bar);"
    run("dom", bar)
    color = "element => getComputedStyle(element).backgroundColor"
    track = page.locator("#bar-under-test")
    assert track.evaluate(color) != track.locator("i").evaluate(color)


def test_headings_are_read_as_words(run: Run, page: Page) -> None:
    run("gallery", f"{GALLERY} gallery.show(images(3, () => 0));")
    expect(page.get_by_role("heading", name="Group 1 3 photos", exact=True)).to_be_visible()
    assert page.locator("h2").text_content() == "Group 1 3 photos"


def test_arrows_with_a_modifier_belong_to_the_browser(run: Run) -> None:
    """Alt and ← go back a page."""
    body = """
      cell(1).focus();
      const press = (init) => {
        const event = new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, cancelable: true, ...init });
        cell(1).dispatchEvent(event);
        return [event.defaultPrevented, document.activeElement === cell(1)];
      };
      return [press({ altKey: true }), press({})];
    """
    assert run("gallery", GALLERY + body) == [[False, True], [True, False]]
