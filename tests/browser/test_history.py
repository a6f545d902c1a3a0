"""The browser's Back, Forward and Reload around a photo that is looked at; and the first screen on a phone."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from app.client import Client, User
from app.local import Deployment
from app.page.opening import address_with


def test_back_leads_from_a_photo_to_the_gallery(gallery: Page) -> None:
    viewer = gallery.get_by_role("dialog")
    gallery.locator("[data-photo]").first.click()
    viewer.get_by_role("button", name="Next photo").click()
    expect(viewer.get_by_text("2 of 3", exact=True)).to_be_visible()
    gallery.go_back()
    expect(viewer).to_have_count(0)
    expect(gallery.locator("[data-photo]").nth(1)).to_be_focused()
    gallery.go_forward()
    expect(viewer.get_by_text("2 of 3", exact=True)).to_be_visible()


def test_back_takes_an_open_question_with_it(gallery: Page, client: Client) -> None:
    gallery.locator("[data-photo]").first.click()
    gallery.get_by_role("button", name="Delete this photo").click()
    expect(gallery.get_by_role("button", name="Delete photo")).to_be_visible()
    gallery.go_back()
    expect(gallery.get_by_role("dialog")).to_have_count(0)
    expect(gallery.locator("[data-photo]").first).to_be_focused()
    assert len(client.images()) == 3


def test_a_closed_photo_leaves_no_step_behind(gallery: Page) -> None:
    for _ in range(2):
        gallery.locator("[data-photo]").first.click()
        expect(gallery.get_by_role("dialog")).to_be_visible()
        gallery.keyboard.press("Escape")
        expect(gallery.get_by_role("dialog")).to_have_count(0)
        gallery.wait_for_function("() => history.state === null")
    gallery.go_back()
    assert gallery.url == "about:blank"


def test_a_page_loaded_anew_shows_its_photo_again(gallery: Page) -> None:
    viewer = gallery.get_by_role("dialog")
    gallery.locator("[data-photo]").nth(1).click()
    expect(viewer.get_by_text("2 of 3", exact=True)).to_be_visible()
    gallery.reload()
    expect(viewer.get_by_text("2 of 3", exact=True)).to_be_visible()
    gallery.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(gallery.locator("[data-photo]").nth(1)).to_be_focused()


def test_a_phone_is_not_asked_to_drop_anything(browser: Browser, deployment: Deployment, user: User) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(address_with(deployment.base_url, str(user.token)))
    expect(page.get_by_role("heading", name="Choose some of your photos")).to_be_visible()
    expect(page.locator(".drop .button").first).to_have_text("Choose photos")
    context.close()
