"""The link that opens the page signed in, and the private file that leads a browser there."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.client import Client
from app.local import Deployment
from app.page.opening import OWN_USER, open_in_browser, signed_in_address


def test_each_link_is_of_the_same_user(deployment: Deployment, service: Client) -> None:
    addresses = [signed_in_address(deployment.base_url, deployment.service_token) for _ in range(2)]
    assert addresses[0] != addresses[1]
    assert [user.external_id for user in service.users()].count(OWN_USER) == 1


def test_a_browser_follows_the_private_file(page: Page, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    for _again in range(2):
        assert open_in_browser(signed_in_address(deployment.base_url, deployment.service_token), tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "pseg_" not in opened[-1]
    page.goto(opened[-1])
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    assert page.url == f"{deployment.base_url}/"
