"""The documents say what the code does: every setting is in the README, every make task in `make help`."""

import re
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readme(name: str) -> None:
    row = f"| `PERSONALSEG_{name.upper()}` |"
    line = next((line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(row)), None)
    assert line is not None, f"README.md lacks {row}"
    assert Settings.model_fields[name].description in line


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
