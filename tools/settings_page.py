"""`python -m tools.settings_page`: writes docs/settings.md from `app/settings.py`; a test fails while the two differ."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from app.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
_HEAD = """# Settings

Environment variables; the unit is in the name. Each may also be a file of that name in lower case below `/run/secrets`
(`PERSONALSEG_SECRETS_DIR`); the environment wins.
This page is made from `app/settings.py` by `make settings`.

"""


def page() -> str:
    """The page's text."""
    return f"{_HEAD}{table()}\n"


def table() -> str:
    """Every setting: its environment variable, its default, what it is."""
    rows = [
        f"| `PERSONALSEG_{name.upper()}` | {_default(field.default)} | {(field.description or '').replace('|', chr(92) + '|')} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | what it is |", "|---|---|---|", *rows])


def _default(value: object) -> str:
    return "" if value is None or value is PydanticUndefined or value == () else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
