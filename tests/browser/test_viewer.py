"""The viewer before a made-up app: masks of which one cannot be had, a view that fails, what is read aloud."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Run

# Two photos, "a" and "b"; what is in `lacking` (such as "a/1/json") is answered with `error`.
APP = """
  const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 6 });
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, 8, 6);
  context.fillStyle = "rgb(64, 0, 0)";
  context.fillRect(2, 2, 4, 3);
  const png = await new Promise((resolve) => canvas.toBlob(resolve));
  const classes = [{ id: 0, name: "background", color: [0, 0, 0] }, { id: 8, name: "cat", color: [64, 0, 0] }];
  const found = { classes: [{ id: 8, name: "cat", area_share: 0.25, mean_confidence: 0.9 }] };
  const lacking = new Set();
  const failure = (status, code, text) => Object.assign(new Error(text), { status, code, extra: {} });
  let error = failure(503, "unavailable", "The storage is away.");
  const answer = (path, value) => {
    const [, id, model, format] = /images\\/(\\w+)\\/mask\\?model=(\\w+)&format=(\\w+)/.exec(path) ?? [];
    if (lacking.has(`${id}/${model}/${format}`)) throw error;
    return value;
  };
  const posted = [];
  const post = async (path, wish) => {
    posted.push(wish.model);
    throw failure(403, "read_only_token", "This token may only read.");
  };
  const api = { get: async (path) => answer(path, found), blob: async (path) => answer(path, png), post };
  const photo = (id) => ({ id, filename: `${id}.jpg`, width: 8, height: 6 });
  const app = { api, path: "users/1", activeModel: { version: 1 }, health: {}, photo, viewerClosed() {}, classes: async () => classes };
  app.colors = async () => Object.assign([], { 0: [0, 0, 0], 8: [64, 0, 0] });
  app.masks = new (await import("/page/masks.js")).Masks(app);
  const viewer = new m.Viewer(app);
  const open = () => viewer.open("a", ["a", "b"]);
"""
WIDTHS = "layers => layers.map((layer) => [layer.dataset.layer, layer.width])"


def painted(page: Page) -> list[str]:
    """The sides of which a layer is shown."""
    return [side for side, width in page.locator(".layer").evaluate_all(WIDTHS) if width]


@pytest.mark.parametrize(
    ("missing", "there", "note", "words"),
    [
        ("base", "personal", "Base mask: The storage is away.", "Segmented by your model."),
        ("1", "base", "Personal mask: The storage is away.", "Segmented by the base model."),
    ],
)
def test_one_mask_is_shown_without_the_other(run: Run, page: Page, missing: str, there: str, note: str, words: str) -> None:
    run("viewer", f"{APP} lacking.add('a/{missing}/json'); open();")
    expect(page.locator(".stage-note")).to_have_text(note)
    expect(page.locator(".legend-row")).to_have_count(1)
    expect(page.locator(".changed")).to_have_text(words)
    expect(page.get_by_role("button", name=f"{there} mask")).to_be_visible()
    expect(page.get_by_label("Changes")).to_be_disabled()
    expect(page.get_by_role("slider", name="Compare")).to_be_hidden()
    assert painted(page) == [there]


def test_without_any_mask_the_viewer_says_why(run: Run, page: Page) -> None:
    run("viewer", f"{APP} lacking.add('a/base/json').add('a/1/json'); open();")
    expect(page.locator(".stage-note")).to_have_text("The storage is away.")
    expect(page.locator(".legend-row")).to_have_count(0)
    assert painted(page) == []


def test_a_token_that_may_only_read_asks_for_no_mask(run: Run, page: Page) -> None:
    body = """
      app.isReadOnly = true;
      error = failure(404, "mask_not_ready", "Start a segmentation first.");
      lacking.add("a/base/json");
      globalThis.posted = posted;
      open();
    """
    run("viewer", APP + body)
    expect(page.locator(".stage-note")).to_contain_text("Base mask: No mask of this photo has been made yet")
    assert painted(page) == ["personal"]
    assert page.evaluate("posted") == []


def test_confidence_that_cannot_be_had_shows_nothing_in_its_place(run: Run, page: Page) -> None:
    run("viewer", f"{APP} lacking.add('a/1/confidence'); open();")
    slider = page.get_by_role("slider", name="Compare")
    expect(slider).to_be_visible()
    page.get_by_label("Confidence").check()
    expect(page.locator(".stage-note")).to_have_text("The storage is away.")
    expect(slider).to_be_hidden()
    assert painted(page) == []
    page.get_by_label("Classes").check()
    expect(page.locator(".stage-note")).to_have_text("")
    expect(slider).to_be_visible()
    assert painted(page) == ["base", "personal"]


def test_no_view_is_taken_for_another_while_it_is_fetched(run: Run, page: Page) -> None:
    body = """
      const { blob } = api;
      api.blob = (path) => (path.includes("format=confidence") ? new Promise(() => {}) : blob(path));
      open();
    """
    run("viewer", APP + body)
    expect(page.get_by_role("slider", name="Compare")).to_be_visible()
    page.get_by_label("Confidence").check()
    assert painted(page) == []
    page.get_by_label("Classes").check()
    expect(page.get_by_role("slider", name="Compare")).to_be_visible()
    assert painted(page) == ["base", "personal"]


def test_changes_need_both_masks(run: Run, page: Page) -> None:
    run("viewer", f"{APP} lacking.add('b/1/json'); open();")
    meaning = page.get_by_text("white where it sees background")
    expect(meaning).to_be_hidden()
    page.get_by_label("Changes").check()
    expect(meaning).to_be_visible()
    page.get_by_role("button", name="Next photo").click()
    expect(page.locator(".stage-note")).to_have_text("Personal mask: The storage is away.")
    expect(page.get_by_label("Classes")).to_be_checked()
    expect(meaning).to_be_hidden()
    expect(page.locator("[data-layer=base]")).to_be_visible()


def test_the_photo_is_read_aloud_where_it_is_heard(run: Run, page: Page) -> None:
    """All but the dialog is inert while it is open."""
    run("viewer", f"{APP} open();")
    page.get_by_role("button", name="Next photo").click()
    expect(page.locator("dialog > [role=status]")).to_have_text("b.jpg, photo 2 of 2")
    page.keyboard.press("Escape")
    run("dom", "m.announce('Your model is ready.');")
    expect(page.locator("#announcer")).to_have_text("Your model is ready.")


def test_a_model_that_is_ready_is_shown_to_who_looks_at_a_photo(run: Run, page: Page) -> None:
    run("viewer", f"{APP} app.activeModel = null; Object.assign(globalThis, {{ app, viewer }}); open();")
    expect(page.locator(".changed")).to_have_text("Segmented by the base model. Personalise to compare.")
    page.evaluate("app.activeModel = { version: 1 }; viewer.update(['a', 'b'])")
    expect(page.locator(".changed")).to_have_text("Your model sees 0 % of this photo differently.")
    assert painted(page) == ["base", "personal"]


def test_what_could_not_be_shown_is_asked_for_again_when_the_service_is_back(run: Run, page: Page) -> None:
    run("viewer", f"{APP} lacking.add('a/base/json').add('a/1/json'); Object.assign(globalThis, {{ lacking, viewer }}); open();")
    expect(page.locator(".stage-note")).to_have_text("The storage is away.")
    page.evaluate("lacking.clear(); viewer.retry()")
    expect(page.locator(".legend-row")).to_have_count(1)
    expect(page.locator(".stage-note")).to_have_text("")


def test_the_arrow_keys_go_on_after_the_last_photo(run: Run, page: Page) -> None:
    run("viewer", f"{APP} open();")
    button = page.get_by_role("button", name="Next photo")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="b.jpg")).to_be_visible()
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name="a.jpg")).to_be_visible()


FRAME = """() => {
  const [stage, frame] = [document.querySelector(".stage"), document.querySelector(".frame")];
  return { width: frame.offsetWidth, left: stage.scrollLeft, room: stage.clientWidth, inside: stage.scrollWidth };
}"""


def test_a_photo_can_be_looked_at_closely(run: Run, page: Page) -> None:
    run("viewer", f"{APP} open();")
    expect(page.locator(".legend-row")).to_have_count(1)
    closer, away = page.get_by_role("button", name="Zoom in"), page.get_by_role("button", name="Zoom out")
    whole = page.evaluate(FRAME)
    expect(away).to_have_attribute("aria-disabled", "true")
    for _ in range(3):
        closer.click()
    near = page.evaluate(FRAME)
    assert abs(near["width"] - whole["width"] * 1.5**3) <= 4
    middle = (near["left"] + near["room"] / 2) / near["inside"]
    assert abs(middle - 0.5) < 0.05, "what was in the middle is there still"
    expect(page.locator("dialog > [role=status]")).to_have_text("Zoom 338 %")
    page.keyboard.press("-")
    assert abs(page.evaluate(FRAME)["width"] - whole["width"] * 1.5**2) <= 4
    for _ in range(9):
        page.keyboard.press("+")
    expect(closer).to_have_attribute("aria-disabled", "true")
    assert abs(page.evaluate(FRAME)["width"] - whole["width"] * 8) <= 8
    page.keyboard.press("0")
    assert page.evaluate(FRAME) == whole


def test_the_arrow_keys_move_about_in_a_photo_that_is_close(run: Run, page: Page) -> None:
    run("viewer", f"{APP} open();")
    expect(page.locator(".legend-row")).to_have_count(1)
    expect(page.locator(".keys")).to_contain_text("→ photos")
    at = "(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop])(document.querySelector('.stage'))"
    for _ in range(9):
        page.keyboard.press("+")
    expect(page.locator(".keys")).to_contain_text("→ move")
    left, top = page.evaluate(at)
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    right, bottom = page.evaluate(at)
    assert right > left + 50 and bottom > top + 50
    for key in ("ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate(at) == [left, top]
    expect(page.get_by_role("heading", name="a.jpg")).to_be_visible()


def test_of_the_next_photo_its_name_is_told_though_one_was_close(run: Run, page: Page) -> None:
    run("viewer", f"{APP} open();")
    expect(page.locator(".legend-row")).to_have_count(1)
    page.keyboard.press("+")
    page.get_by_role("button", name="Next photo").click()
    expect(page.get_by_role("heading", name="b.jpg")).to_be_visible()
    expect(page.locator("dialog > [role=status]")).to_contain_text("b.jpg, photo 2 of 2")


def test_two_fingers_zoom_where_they_are_and_the_next_photo_is_whole(run: Run, page: Page) -> None:
    run("viewer", f"{APP} open();")
    expect(page.locator(".legend-row")).to_have_count(1)
    whole = page.evaluate(FRAME)
    box = page.locator(".frame").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_function("document.querySelector('.stage').classList.contains('zoomed')")
    near = page.evaluate(FRAME)
    assert near["width"] > 2 * whole["width"]
    assert near["left"] > 0.5 * (near["inside"] - near["room"]), "to the right, where the pointer was"
    page.get_by_role("button", name="Next photo").click()
    expect(page.get_by_role("heading", name="b.jpg")).to_be_visible()
    assert page.evaluate(FRAME)["width"] == whole["width"]
