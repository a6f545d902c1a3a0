"""The documents say what the code does: every setting is in the README, every make task in `make help`."""

import re
import subprocess
from datetime import date
from pathlib import Path

import pytest

from app.settings import Settings
from tools import settings_page, states

ROOT = Path(__file__).parent.parent
NOT_FIELDS = {"URL", "TOKEN", "USER", "SECRETS_DIR"}
"""Variables of the command line and of the settings' own loading."""


def test_the_page_of_settings_is_made_from_the_code() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "docs/settings.md is stale: make settings"


@pytest.mark.parametrize("name", re.findall(r"`PERSONALSEG_(\w+)`", (ROOT / "README.md").read_text()))
def test_the_readme_names_settings_that_there_are(name: str) -> None:
    assert name.lower() in Settings.model_fields or name in NOT_FIELDS


def test_make_help_lists_every_task() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {task for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.M) for task in line.split()}
    shown = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert phony == set(re.findall(r"^  make (\S+)", shown, re.M))


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_page_of_states_shows_every_state_that_the_browser_tests_look_at() -> None:
    looked_at = {name for test in (ROOT / "tests/browser").glob("*.py") for name in re.findall(r'\bcheck\("([\w-]+)"\)', test.read_text())}
    page = (states.DOCS / "page.md").read_text()
    shown = set(re.findall(r"^\| ([a-z-]+) \| \d+ passed", page[page.index(states.FIRST) : page.index(states.LAST)], re.M))
    assert shown == looked_at, "docs/page.md is stale: BROWSER_SHOTS=FOLDER pytest tests/browser, then python -m tools.states FOLDER"


def test_the_table_of_states_takes_the_place_of_the_one_before_it() -> None:
    found = states.read_report(
        [
            "| welcome, light | 38 | none |",
            "| welcome, dark | 39 | none |",
            "| welcome, phone | 40 | region (moderate) |",
            "| welcome, light | 41 | none |",
        ]
    )
    page = f"# Page\n\n{states.FIRST}2026-01-01:\n\nold\n\n{states.LAST}\n\nmore\n"
    assert states.with_table(page, found, date(2026, 12, 1)) == (
        f"# Page\n\n{states.FIRST}2026-12-01:\n\n| state | light | dark | phone |\n|---|---|---|---|\n"
        f"| welcome | 41 passed, none | 39 passed, none | 40 passed, region (moderate) |\n\n{states.LAST}\n\nmore\n"
    )
