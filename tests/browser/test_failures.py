"""What goes wrong: lost tokens, workers, service, connection, uploads, and streams of events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, Route, expect

from app.client import Client, User
from app.local import Deployment
from tests.browser.conftest import BUSY, Check
from tests.browser.test_sessions import held as held_requests
from tests.halting import halted

Upload = Callable[[list[Path]], None]
WORKERS = ("worker-adaptation", "worker-segmentation")


def stood_still(deployment: Deployment, *names: str) -> AbstractContextManager[None]:
    """These children stand still."""
    return halted([deployment.child_pids[name] for name in names], deployment.settings.database_url)


def test_a_revoked_token_leads_back_to_the_form(signed_in: Page, client: Client, check: Check) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    (token,) = client.tokens()
    client.revoke_token(token.id)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("has expired or was revoked")
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    check("revoked")


def test_a_second_click_on_the_account_closes_its_menu(signed_in: Page) -> None:
    account, menu = signed_in.get_by_role("button", name="Your account"), signed_in.get_by_role("group", name="Your account")
    expect(menu).to_be_hidden()
    account.click()
    expect(menu).to_be_visible()
    expect(signed_in.get_by_role("link", name="API documentation")).to_be_focused()
    account.click()
    expect(menu).to_be_hidden()
    account.click()
    signed_in.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(account).to_be_focused()


def test_a_token_that_was_shortened_for_the_eye_is_told_as_unknown(page: Page, deployment: Deployment) -> None:
    """A browser cannot send it at all."""
    page.goto(deployment.base_url)
    page.get_by_label("Token").fill("pseg_usr_abc…xyz")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This token is unknown, expired or revoked.")


def test_a_link_that_is_not_answered_can_be_tried_again(page: Page, deployment: Deployment, user: User) -> None:
    """Its token is in the address no more."""
    held = held_requests(page, "**/v1/me")
    page.goto(f"{deployment.base_url}/#token={user.token}")
    expect(page.get_by_text("Signing in …")).to_be_visible()
    held[0].abort()
    expect(page.get_by_role("alert")).to_have_text("The service does not answer. Try again in a moment.")
    expect(page.get_by_label("Token")).to_have_value(str(user.token))
    page.unroute("**/v1/me")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()


def test_without_workers_jobs_wait_and_say_so(
    signed_in: Page, client: Client, deployment: Deployment, photos: list[Path], upload: Upload, check: Check
) -> None:
    page = signed_in
    banner = page.locator("#banner")
    with stood_still(deployment, *WORKERS):
        expect(banner).to_contain_text("No worker is running")
        upload(photos[:3])
        page.get_by_role("button", name="Close the upload list").click()
        page.get_by_role("button", name="Personalise").click()
        expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        check("no-worker")
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("button", name="Personalise")).to_be_visible()
        assert [job.status for job in client.jobs("adaptation")] == ["cancelled"]
    expect(banner).to_be_hidden()


def test_a_job_under_way_is_found_again_and_can_be_cancelled(
    signed_in: Page, client: Client, deployment: Deployment, photos: list[Path]
) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    client.upload(photos)
    with stood_still(deployment, "worker-adaptation"):  # so few photos are done before a busy machine has shown the page anew
        client.adapt(budget_seconds=200)
        page.reload()
        expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("progressbar", name="Progress")).to_be_hidden()
    assert [job.status for job in client.jobs("adaptation")] == ["cancelled"]


def test_a_service_that_hangs_is_named_and_comes_back(signed_in: Page, deployment: Deployment, check: Check) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    with stood_still(deployment, "api"):
        page.evaluate("dispatchEvent(new Event('online'))")  # look now, not at the next turn
        expect(page.locator("#banner")).to_contain_text("The service does not answer")
        check("service-away")
    expect(page.locator("#banner")).to_be_hidden()


def test_offline(signed_in: Page, context: BrowserContext, client: Client, photos: list[Path], upload: Upload, check: Check) -> None:
    page = signed_in
    upload(photos[:2])
    expect(page.locator("[data-photo]")).to_have_count(2)
    context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("You are offline")
    page.get_by_role("button", name="Close the upload list").click()
    page.get_by_role("button", name="Personalise").click()
    expect(page.get_by_role("alert")).to_contain_text("You are offline.")
    check("offline")
    context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("[data-photo]")).to_have_count(2)


def test_an_upload_outlasts_a_connection_that_is_gone(
    signed_in: Page, context: BrowserContext, client: Client, photos: list[Path], upload: Upload
) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("You are offline")
    page.locator("input[data-picker=photos]").set_input_files(photos[:2])
    page.wait_for_timeout(8_000)  # three tries would be over after 4.2 s
    expect(page.locator(".tray [data-status=failed]")).to_have_count(0)
    context.set_offline(False)
    expect(page.locator(".tray [data-status=stored]")).to_have_count(2)
    expect(page.locator("[data-photo]")).to_have_count(2)


def test_a_problem_of_the_connection_goes_with_it(signed_in: Page, context: BrowserContext, photos: list[Path], upload: Upload) -> None:
    page = signed_in
    upload(photos[:2])
    expect(page.locator("[data-photo]")).to_have_count(2)
    context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("You are offline")
    page.get_by_role("button", name="Personalise").click()
    expect(page.get_by_role("alert")).to_contain_text("You are offline.")
    context.set_offline(False)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_gallery_that_cannot_be_read_offers_another_try(page: Page, client: Client, deployment: Deployment, user, check: Check) -> None:
    page.route("**/images?*", lambda route: route.abort())
    page.goto(f"{deployment.base_url}/#token={user.token}")
    expect(page.get_by_role("heading", name="Your photos cannot be shown")).to_be_visible()
    check("gallery-problem")
    page.unroute("**/images?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()


def test_photos_that_cannot_be_read_after_an_upload_are_read_again(signed_in: Page, photos: list[Path], upload: Upload) -> None:
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    page.route("**/images?*", lambda route: route.fulfill(status=503, content_type="application/json", body=BUSY))
    upload(photos[:2])
    expect(page.get_by_text("The database is busy.")).to_be_visible()
    with page.expect_request("**/images?*"):
        pass  # the page asks again by itself
    page.unroute("**/images?*")
    expect(page.locator("[data-photo]")).to_have_count(2)


def test_a_page_of_html_in_the_services_place_is_said_to_be_one(page: Page, deployment: Deployment, user) -> None:
    page.route("**/images?*", lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Welcome to the hotel</h1>"))
    page.goto(f"{deployment.base_url}/#token={user.token}")
    expect(page.get_by_text("Something else answered in the service's place")).to_be_visible()
    page.unroute("**/images?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()


def test_failed_uploads_are_sent_again(signed_in: Page, client: Client, photos: list[Path], upload: Upload, check: Check) -> None:
    page = signed_in
    page.route("**/images", lambda route: route.abort("connectionreset"))
    upload(photos[:3])
    expect(page.locator(".tray [data-status=failed]")).to_have_count(3)
    assert client.images() == []
    check("upload-failed")
    page.unroute("**/images")
    page.get_by_role("button", name="Try 3 files again").click()
    expect(page.locator(".tray [data-status=stored]")).to_have_count(3)
    upload(photos[:1])
    expect(page.locator(".tray [data-status=duplicate]")).to_have_count(1)
    expect(page.locator("[data-photo]")).to_have_count(3)


def test_a_folder_is_taken_with_what_lies_in_it(signed_in: Page, client: Client, photos: list[Path]) -> None:
    page = signed_in
    folder = photos[0].parent.parent
    (folder / "notes.txt").write_text("no photo")
    page.locator("input[data-picker=folder]").set_input_files(folder)
    expect(page.locator("[data-photo]")).to_have_count(len(photos))
    expect(page.locator(".tray")).to_contain_text("1 file of the folder is no photo and was left out.")
    assert sorted(image.filename for image in client.images()) == sorted(photo.relative_to(folder).as_posix() for photo in photos)


def test_a_drop_of_which_something_cannot_be_read(signed_in: Page) -> None:
    """What is dropped comes from the system, so the event is made up: one photo, and a link to nowhere."""
    page = signed_in
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    drop = """async ({ withPhoto }) => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
      const pixels = await new Promise((resolve) => canvas.toBlob(resolve));
      const file = new File([pixels], "a.png", { type: "image/png" });
      const photo = { isFile: true, name: "a.png", fullPath: "/a.png", file: (resolve) => resolve(file) };
      const link = { isFile: true, name: "b.png", fullPath: "/b.png", file: (_, reject) => reject(new Error("gone")) };
      const entries = withPhoto ? [photo, link] : [link];
      const items = entries.map((entry) => ({ kind: "file", webkitGetAsEntry: () => entry, getAsFile: () => null }));
      document.dispatchEvent(Object.assign(new Event("drop", { cancelable: true }), { dataTransfer: { types: ["Files"], items } }));
    }"""
    page.evaluate(drop, {"withPhoto": False})
    expect(page.locator("#toasts")).to_contain_text("No photo among these files could be read.")
    expect(page.locator(".tray")).to_contain_text("1 file or folder could not be read and was left out.")
    page.evaluate(drop, {"withPhoto": True})
    expect(page.locator(".tray [data-status=stored]")).to_have_count(1)
    expect(page.locator(".tray")).to_contain_text("2 files or folders could not be read and were left out.")


def test_a_drop_that_comes_too_early_is_not_lost_without_a_word(page: Page, deployment: Deployment, user: User) -> None:
    page.route("**/images?*", lambda route: None)  # never answered
    page.goto(f"{deployment.base_url}/#token={user.token}")
    expect(page.get_by_role("status", name="Loading your photos")).to_be_visible()
    page.evaluate("document.dispatchEvent(Object.assign(new Event('drop'), { dataTransfer: { types: ['Files'], items: [] } }))")
    expect(page.locator("#toasts")).to_contain_text("drop your photos again in a moment")


def test_without_events_the_page_polls(signed_in: Page, client: Client, photos: list[Path], upload: Upload) -> None:
    page = signed_in
    asked: list[str] = []

    def no_events(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=502, body="a proxy that lets no streams through")

    page.route("**/events", no_events)
    upload(photos[:3])
    page.get_by_role("button", name="Close the upload list").click()
    page.get_by_role("button", name="Personalise").click()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_hidden()
    assert asked
    assert all(job.ended for job in client.jobs("adaptation"))


def test_a_read_only_token_is_offered_nothing_that_writes(page: Page, client: Client, deployment: Deployment, photos: list[Path]) -> None:
    client.upload(photos[:2])
    token = client.create_token(scope="read_only").token
    page.goto(f"{deployment.base_url}/#token={token}")
    expect(page.locator("[data-photo]")).to_have_count(2)
    for name in ("Add photos", "Personalise"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_role("button", name="Export")).to_be_visible()
    over = "document.dispatchEvent(Object.assign(new Event('dragover'), { dataTransfer: { types: ['Files'] } }))"
    page.evaluate(over)
    expect(page.get_by_text("Drop to add your photos")).to_be_hidden()


def test_a_read_only_token_of_an_empty_gallery_is_not_asked_to_drop_anything(page: Page, client: Client, deployment: Deployment) -> None:
    token = client.create_token(scope="read_only").token
    page.goto(f"{deployment.base_url}/#token={token}")
    expect(page.get_by_role("heading", name="There are no photos yet")).to_be_visible()
    expect(page.get_by_text("Drop")).to_be_hidden()
