"""One session after another in the same tab: nothing of the first may act in the second."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from app.client import Client, User
from app.local import Deployment
from app.page.opening import address_with
from tests.browser.conftest import Run

UNAUTHORIZED = {"code": "unauthorized", "detail": "The token was revoked."}


@pytest.fixture
def link(deployment: Deployment, service: Client, photos: list[Path]) -> str:
    """The signed-in link of somebody else, who has one photo."""
    other = service.create_user()
    assert other.token is not None
    with service.for_user(other) as own:
        own.upload(photos[:1])
    return address_with(deployment.base_url, other.token)


def held(page: Page, path: str) -> list[Route]:
    """Requests to this path wait here for their answer."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route(path, hold)
    return waiting


def test_a_late_refusal_leaves_the_next_session_alone(page: Page, deployment: Deployment, user: User, link: str) -> None:
    assert user.token is not None
    late = held(page, f"**/users/{user.id}/models?*")
    with page.expect_request(f"**/users/{user.id}/models?*"):
        page.goto(address_with(deployment.base_url, user.token))
    page.goto(link)
    expect(page.locator("[data-photo]")).to_have_count(1)
    with page.expect_response(lambda response: response.status == 401):
        late[0].fulfill(status=401, json=UNAUTHORIZED)
    page.wait_for_timeout(300)
    expect(page.locator("[data-photo]")).to_have_count(1)
    assert page.evaluate("sessionStorage.length") == 1


def test_an_upload_ends_with_its_session(signed_in: Page, user: User, link: str, photos: list[Path]) -> None:
    page = signed_in
    late = held(page, f"**/users/{user.id}/images")
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    page.locator("input[data-picker=photos]").set_input_files(photos[:1])
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
    with page.expect_event("requestfailed", lambda request: request.method == "POST", timeout=10_000):
        page.goto(link)
    expect(page.locator("[data-photo]")).to_have_count(1)
    expect(page.locator("#tray")).to_be_hidden()
    page.wait_for_timeout(2_000)  # a broken upload is tried again after 1.4 s
    assert len(late) == 1


def test_a_link_closes_the_viewer(signed_in: Page, client: Client, link: str, photos: list[Path]) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    client.upload(photos[:2])
    page.reload()
    page.locator("[data-photo]").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.goto(link)
    expect(page.locator("[data-photo]")).to_have_count(1)
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.fixture
def sending(signed_in: Page, user: User, photos: list[Path]) -> Page:
    """The page while a photo is on its way."""
    held(signed_in, f"**/users/{user.id}/images")
    expect(signed_in.get_by_role("heading", name="Drop a folder")).to_be_visible()
    signed_in.locator("input[data-picker=photos]").set_input_files(photos[:1])
    expect(signed_in.get_by_role("progressbar", name="Upload")).to_be_visible()
    return signed_in


def test_signing_out_asks_while_photos_are_on_their_way(sending: Page) -> None:
    def sign_out() -> None:
        sending.get_by_role("button", name="Your account").click()
        sending.get_by_role("button", name="Sign out").click()

    sign_out()
    expect(sending.get_by_role("dialog")).to_contain_text("1 file is still on the way.")
    sending.get_by_role("button", name="Cancel").click()
    expect(sending.get_by_role("progressbar", name="Upload")).to_be_visible()
    sign_out()
    sending.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    expect(sending.get_by_label("Token")).to_be_focused()


def test_a_tab_asks_before_it_closes_while_photos_are_on_their_way(sending: Page) -> None:
    sending.get_by_role("heading", name="Adding photos").click()  # the browser asks only those who have touched the page
    with sending.expect_event("dialog") as asked:
        sending.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    expect(sending.get_by_role("progressbar", name="Upload")).to_be_visible()


def test_a_session_that_ends_says_what_has_not_arrived(sending: Page, client: Client) -> None:
    (token,) = client.tokens()
    client.revoke_token(token.id)
    sending.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # come back to the tab: it looks again
    expect(sending.get_by_role("alert")).to_contain_text("1 file is still on the way. Add what is missing again then.")


def test_the_next_session_has_a_tray_of_its_own(signed_in: Page, link: str, tmp_path: Path) -> None:
    page = signed_in
    (tmp_path / "notes.txt").write_text("no photo")
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    page.locator("input[data-picker=folder]").set_input_files(tmp_path)
    expect(page.locator("#tray")).to_contain_text("1 file of the folder")
    page.goto(link)
    expect(page.locator("[data-photo]")).to_have_count(1)
    expect(page.locator("#tray")).to_be_hidden()


BARE_APP = """
  const [main, bar, tray] = ["main", "div", "div"].map((tag) => document.createElement(tag));
  const health = Object.assign(new EventTarget(), { state: "ready" });
  const bareApp = (api) => new m.App({ api, userId: "1", main, bar, health, tray, onLeave() {} });
"""


def test_what_a_stopped_app_reads_is_not_shown(run: Run) -> None:
    body = """
      const asked = [];
      const api = { all: async () => [], get: async (path) => { asked.push(path); return { items: [] }; } };
      const app = bareApp(api);
      await app.start();
      const reading = app.reloadPhotos();
      app.stop();
      main.replaceChildren();
      await reading;
      const before = asked.length;
      app.upload.dispatchEvent(new Event("done"));
      return [main.children.length, asked.length - before];
    """
    assert run("app", BARE_APP + body) == [0, 0]


def test_an_answer_that_comes_after_a_later_one_is_not_shown(run: Run) -> None:
    body = """
      const answers = [];
      const asked = () => new Promise((resolve) => answers.push(resolve));
      const api = { get: async () => ({ items: [] }), all: async (path) => (path.endsWith("/images") ? asked() : []) };
      const app = bareApp(api);
      const photo = (id) => ({ id, filename: id, group_index: null });
      const starting = app.start();
      answers[0]([]);
      await starting;
      const earlier = app.reloadPhotos();
      const later = app.reloadPhotos();
      answers[2]([photo("one"), photo("two")]);
      await later;
      answers[1]([photo("one")]);
      await earlier;
      app.stop();
      return app.images.map((image) => image.id);
    """
    assert run("app", BARE_APP + body) == ["one", "two"]


def test_a_double_click_makes_one_user(page: Page, deployment: Deployment, service: Client) -> None:
    page.goto(deployment.base_url)
    page.get_by_label("Token").fill(deployment.service_token)
    page.keyboard.press("Enter")
    before = len(list(service.users()))
    page.get_by_role("button", name="Create").dblclick()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    assert len(list(service.users())) == before + 1
