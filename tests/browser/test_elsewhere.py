"""What other tabs and programs do to the same gallery, and pages that are loaded anew in the middle of something."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from app.client import Client
from app.local import Deployment
from tests.browser.conftest import BUSY, Run
from tests.browser.test_failures import stood_still
from tests.browser.test_modules import WORK
from tests.browser.test_sessions import BARE_APP

COME_BACK = "document.dispatchEvent(new Event('visibilitychange'))"


def shown(page: Page, at: int) -> str:
    """The id of this photo."""
    return str(page.locator("[data-photo]").nth(at).get_attribute("data-photo"))


def delete_here(page: Page) -> None:
    page.get_by_role("button", name="Delete this photo").click()
    page.get_by_role("button", name="Delete photo").click()


def test_who_comes_back_to_the_tab_sees_what_has_become_of_the_gallery(gallery: Page, client: Client, deployment: Deployment) -> None:
    client.delete_image(shown(gallery, 0))
    with stood_still(deployment, "worker-adaptation"):
        client.adapt()
        gallery.evaluate(COME_BACK)
        expect(gallery.locator("[data-photo]")).to_have_count(2)
        gallery.get_by_role("button", name="Cancel").click()
        expect(gallery.get_by_role("progressbar", name="Progress")).to_be_hidden()


def test_a_photo_that_was_deleted_elsewhere_is_said_to_be_gone(gallery: Page, client: Client) -> None:
    viewer = gallery.get_by_role("dialog")
    name = str(gallery.locator("[data-photo]").nth(1).get_attribute("title"))
    gallery.locator("[data-photo]").first.click()
    client.delete_image(shown(gallery, 1))
    viewer.get_by_role("button", name="Next photo").click()
    expect(viewer).to_contain_text(f"“\u2068{name}\u2069” has been deleted elsewhere.")
    expect(viewer.get_by_text("2 of 2", exact=True)).to_be_visible()
    expect(gallery.locator("[data-photo]")).to_have_count(2)


def test_deleting_what_is_gone_already_is_no_failure(gallery: Page, client: Client) -> None:
    gallery.locator("[data-photo]").first.click()
    client.delete_image(shown(gallery, 0))
    delete_here(gallery)
    expect(gallery.get_by_role("dialog").get_by_text("1 of 2", exact=True)).to_be_visible()
    expect(gallery.locator(".toast")).to_have_count(0)


def test_who_moves_on_while_a_photo_is_deleted_stays_there(gallery: Page) -> None:
    viewer = gallery.get_by_role("dialog")
    held: list[Route] = []
    gallery.route("**/images/*", lambda route: held.append(route) if route.request.method == "DELETE" else route.fallback())
    third = gallery.locator("[data-photo]").nth(2).get_attribute("title")
    gallery.locator("[data-photo]").first.click()
    with gallery.expect_request(lambda request: request.method == "DELETE"):
        delete_here(gallery)
    for _ in range(2):
        viewer.get_by_role("button", name="Next photo").click()
    expect(viewer.get_by_text("3 of 3", exact=True)).to_be_visible()
    held[0].continue_()
    expect(viewer.get_by_text("2 of 2", exact=True)).to_be_visible()
    expect(viewer.get_by_role("heading", name=str(third))).to_be_visible()


def test_a_deleted_photo_does_not_come_back_with_an_older_answer(run: Run) -> None:
    body = """
      let images = ["one", "two"].map((id) => ({ id, filename: id, group_index: null, byte_size: 1 }));
      let wait = Promise.resolve();
      const all = async (path) => {
        const answer = path.endsWith("/images") ? images : [];
        await wait;
        return answer;
      };
      const api = { get: async () => ({ items: [] }), all, remove: async () => { images = images.slice(1); } };
      const app = bareApp(api);
      await app.start();
      let answer;
      wait = new Promise((resolve) => { answer = resolve; });
      const earlier = app.reloadPhotos();
      wait = Promise.resolve();
      await app.deletePhoto("one");
      answer();
      await earlier;
      app.stop();
      return app.images.map((image) => image.id);
    """
    assert run("app", BARE_APP + body) == ["two"]


def test_photos_are_shown_although_nobody_knows_yet_what_is_under_way(gallery: Page, client: Client, deployment: Deployment) -> None:
    with stood_still(deployment, "worker-adaptation"):  # three photos would be done before a busy machine has loaded the page
        client.adapt()
        gallery.route("**/adaptations?*", lambda route: route.fulfill(status=503, content_type="application/json", body=BUSY))
        gallery.reload()
        expect(gallery.get_by_text("The database is busy.")).to_be_visible()
        expect(gallery.locator("[data-photo]")).to_have_count(3)
        gallery.unroute("**/adaptations?*")
        expect(gallery.get_by_role("heading", name=re.compile("Personalising"))).to_be_visible()
        gallery.get_by_role("button", name="Cancel").click()
        expect(gallery.get_by_role("progressbar", name="Progress")).to_be_hidden()


@pytest.mark.parametrize(("status", "made"), [("succeeded", ["personal", "base"]), ("refused", ["personal", "base"]), ("failed", [])])
def test_a_page_loaded_anew_goes_on_with_the_masks(run: Run, status: str, made: list[str]) -> None:
    body = f"""
      const session = await import("/page/session.js");
      session.noteMasksDue(true);
      api.jobs = {{ items: [{{ ...ended, status: "{status}" }}] }};
      await work.resume();
      const once = [...posted];
      await work.resume();
      return [once, posted.length, session.areMasksDue()];
    """
    assert run("work", WORK + body) == [made, len(made), False]


def test_masks_that_could_not_be_asked_for_are_asked_for_again(run: Run) -> None:
    """Once what cannot be read is read: the model that was made is among it."""
    body = """
      const session = await import("/page/session.js");
      const told = [];
      let again = 0;
      app.resumeLater = () => { again += 1; };
      app.reloadModels = async () => { throw Object.assign(new Error("The database is busy."), { status: 503 }); };
      work.addEventListener("change", () => told.push(work.problem));
      await work.personalise();
      const due = session.areMasksDue();
      api.jobs = { items: [ended] };
      told.length = 0;
      await work.resume();
      const stood = told.every((text) => text === "The database is busy.");
      app.reloadModels = async () => {};
      await work.resume();
      return [due, again, stood, posted, work.problem, session.areMasksDue()];
    """
    assert run("work", WORK + body) == [True, 2, True, ["adaptation", "personal", "base"], "", False]


def test_masks_that_may_not_be_asked_for_are_not_asked_for_for_ever(run: Run) -> None:
    body = """
      let again = 0;
      app.resumeLater = () => { again += 1; };
      app.reloadModels = async () => { throw Object.assign(new Error("No."), { status: 403 }); };
      await work.personalise();
      return [work.problem, again];
    """
    assert run("work", WORK + body) == ["No.", 0]


def test_the_last_photo_deleted_elsewhere_is_said_to_be_gone(gallery: Page, client: Client) -> None:
    gallery.locator("[data-photo]").first.click()
    expect(gallery.get_by_role("dialog")).to_be_visible()
    for image in client.images():
        client.delete_image(image.id)
    gallery.evaluate(COME_BACK)
    expect(gallery.get_by_role("dialog")).to_be_hidden()
    expect(gallery.locator("#toasts")).to_contain_text("has been deleted elsewhere.")


def test_masks_are_made_by_nobody_who_only_looks(run: Run) -> None:
    """Neither by a token that may only read, nor for an adaptation that this tab has not followed."""
    body = """
      api.jobs = { items: [ended] };
      await work.resume();
      app.isReadOnly = true;
      api.jobs = { items: [running] };
      await work.resume();
      return [posted, work.problem];
    """
    assert run("work", WORK + body) == [[], ""]
