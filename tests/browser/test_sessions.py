"""One session after another in the same tab: nothing of the first may act in the second."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page, Route, expect

from app.client import Client, User
from app.local import Deployment
from app.page.opening import address_with
from tests.browser.conftest import Check, Run

UNAUTHORIZED = {"code": "unauthorized", "detail": "The token was revoked."}


@pytest.fixture
def link(deployment: Deployment, service: Client, photos: list[Path]) -> str:
    """The signed-in link of somebody else, who has one photo."""
    other = service.create_user()
    assert other.token is not None
    with service.for_user(other) as own:
        own.upload(photos[:1])
    return address_with(deployment.base_url, other.token)


def follow_link(page: Page, link: str) -> None:
    """Go there, over the session that is there, and say yes."""
    page.goto(link)
    page.get_by_role("button", name="Open it").click()


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
    follow_link(page, link)
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
        follow_link(page, link)
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
    follow_link(page, link)
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
    follow_link(page, link)
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


@pytest.fixture
def elsewhere(deployment: Deployment) -> str:
    """The deployment under a name that is not this machine's own, as its users reach it."""
    return deployment.base_url.replace("127.0.0.1", "gallery.test")


def test_a_link_from_elsewhere_is_followed_only_on_purpose(page: Page, elsewhere: str, service: Client, check: Check) -> None:
    user = service.create_user(f"Mallory {uuid4()}")
    page.goto(address_with(elsewhere, str(user.token)))
    expect(page.get_by_role("heading", name=f"Open the gallery of {user.external_id}?")).to_be_visible()
    assert page.evaluate("[sessionStorage.length, location.hash]") == [0, ""]
    check("link")
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_label("Token")).to_have_value("")
    assert page.evaluate("sessionStorage.length") == 0
    follow_link(page, address_with(elsewhere, str(user.token)))
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    page.goto(address_with(elsewhere, str(user.token)))  # one's own gallery once more
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_service_s_link_from_elsewhere_is_asked_about_too(page: Page, elsewhere: str, deployment: Deployment) -> None:
    page.goto(address_with(elsewhere, deployment.service_token))
    expect(page.get_by_role("heading", name="Sign in as the service?")).to_be_visible()
    page.get_by_role("button", name="Open it").click()
    expect(page.get_by_role("heading", name="Whose photos?")).to_be_visible()


def test_who_does_not_follow_a_link_stays_where_they_are(sending: Page, user: User, link: str) -> None:
    sending.goto(link)
    expect(sending.get_by_role("dialog")).to_contain_text("You are signed in to another gallery. 1 file is still on the way.")
    sending.get_by_role("button", name="Stay here").click()
    expect(sending.get_by_role("progressbar", name="Upload")).to_be_visible()
    assert sending.evaluate("JSON.parse(sessionStorage.getItem('personalseg.session')).userId") == str(user.id)


def test_a_link_to_the_gallery_that_is_open_breaks_nothing_off_without_a_question(
    sending: Page, deployment: Deployment, user: User
) -> None:
    follow = address_with(deployment.base_url, str(user.token))
    sending.goto(follow)
    dialog = sending.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Open this gallery anew?")).to_be_visible()
    expect(dialog).to_contain_text("1 file is still on the way. What has not arrived will not be added.")
    expect(dialog).not_to_contain_text("another gallery")
    sending.get_by_role("button", name="Stay here").click()
    expect(sending.get_by_role("progressbar", name="Upload")).to_be_visible()


def test_a_late_list_of_users_covers_no_later_session(page: Page, deployment: Deployment, link: str) -> None:
    late = held(page, "**/v1/users?*")
    with page.expect_request("**/v1/users?*"):
        page.goto(address_with(deployment.base_url, deployment.service_token))
    page.goto(link)
    expect(page.locator("[data-photo]")).to_have_count(1)
    late[0].fulfill(status=200, json={"items": [], "next_cursor": None})
    page.wait_for_timeout(300)
    expect(page.locator("[data-photo]")).to_have_count(1)
    expect(page.get_by_role("heading", name="Whose photos?")).to_have_count(0)


def test_a_bad_link_leaves_the_session_alone(signed_in: Page, deployment: Deployment) -> None:
    expect(signed_in.get_by_role("heading", name="Drop a folder")).to_be_visible()
    signed_in.goto(address_with(deployment.base_url, "pseg_usr_gone"))
    expect(signed_in.locator("#toasts")).to_contain_text("The token of this link is unknown, expired or revoked.")
    expect(signed_in.get_by_role("heading", name="Drop a folder")).to_be_visible()


def test_a_start_that_fails_late_leaves_what_is_shown(run: Run) -> None:
    body = """
      const answers = [];
      const asked = () => new Promise((resolve, reject) => answers.push({ resolve, reject }));
      const api = { get: async () => ({ items: [] }), all: (path) => (path.endsWith("/images") ? asked() : Promise.resolve([])) };
      const app = bareApp(api);
      const first = app.start();
      const second = app.start();
      answers[1].resolve([{ id: "one", filename: "one", group_index: null }]);
      await second;
      answers[0].reject(Object.assign(new Error("late"), { status: 503 }));
      await first;
      const shown = [...main.querySelectorAll("[data-photo]")].length;
      app.stop();
      return [shown, main.textContent.includes("cannot be shown")];
    """
    assert run("app", BARE_APP + body) == [1, False]


def test_a_double_click_makes_one_user(page: Page, deployment: Deployment, service: Client) -> None:
    page.goto(deployment.base_url)
    page.get_by_label("Token").fill(deployment.service_token)
    page.keyboard.press("Enter")
    before = len(list(service.users()))
    page.get_by_role("button", name="Create").dblclick()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    assert len(list(service.users())) == before + 1
