"""The shell examples of docs/operations.md's section on `docker compose`, to be run as they are written there."""

from __future__ import annotations

import re

from tests.compose.containers import ROOT

_PAGE = ROOT / "docs" / "operations.md"


def examples() -> dict[str, str]:
    """Each example by the bold words that its paragraph begins with: `Backup`, `Back again`, `New passwords`."""
    section = _PAGE.read_text("utf-8").split("\n## docker compose\n")[1].split("\n## ")[0]
    found = re.findall(r"^- \*\*([^*]+?)\.?\*\*(?:(?!^- ).)*?^  ```sh\n(.*?)^  ```", section, re.M | re.S)
    return {name: re.sub(r"^  ", "", script, flags=re.M) for name, script in found}
