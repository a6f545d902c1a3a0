"""`python -m tools.states FOLDER`: docs/page.md's three sheets of all states, and its table of what axe found.

FOLDER is what `BROWSER_SHOTS=FOLDER pytest tests/browser` has written. States stand in the order in which the tests reached them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).resolve().parent.parent / "docs"
LOOKS = ("light", "dark", "phone")
TILE_WIDTH = {"light": 432, "dark": 432, "phone": 234}
IN_A_LINE = {"light": 5, "dark": 5, "phone": 8}
GAP, TITLE, QUALITY = 12, 24, 72
FIRST, LAST = "Rules passed, and violations of any impact, on ", "## What holds in between"


def main(folder: Annotated[Path, typer.Argument(help="What the browser tests wrote.", exists=True, file_okay=False)]) -> None:
    """Write the sheets and the table."""
    found = read_report((folder / "axe.md").read_text(encoding="utf-8").splitlines())
    for look in LOOKS:
        sheet([(state, folder / f"{state}-{look}.png") for state in found], look).save(
            DOCS / "screenshots" / f"states-{look}.jpg", quality=QUALITY
        )
    page = DOCS / "page.md"
    page.write_text(with_table(page.read_text(encoding="utf-8"), found, date.today()), encoding="utf-8")


def read_report(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """State to look to what axe says of it, from lines such as `| welcome, light | 39 | none |`; the last word on each counts."""
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        where, passed, violations = (cell.strip() for cell in line.strip("| ").split("|"))
        state, _, look = where.rpartition(", ")
        found.setdefault(state, {})[look] = f"{passed} passed, {violations}"
    return found


def with_table(page: str, found: dict[str, dict[str, str]], day: date) -> str:
    """The page with today's table in the place of the one it has. Raises ValueError where it has none."""
    start, end = page.index(FIRST), page.index(LAST)
    rows = [f"| {' | '.join((state, *(by_look[look] for look in LOOKS)))} |" for state, by_look in found.items()]
    table = [f"{FIRST}{day.isoformat()}:", "", f"| state | {' | '.join(LOOKS)} |", "|---" * (1 + len(LOOKS)) + "|", *rows, "", ""]
    return page[:start] + "\n".join(table) + page[end:]


def sheet(pictures: list[tuple[str, Path]], look: str) -> Image.Image:
    """The pictures in lines, each under its name."""
    width, in_a_line = TILE_WIDTH[look], IN_A_LINE[look]
    with Image.open(pictures[0][1]) as first:
        height = round(first.height * width / first.width)
    lines = -(-len(pictures) // in_a_line)
    made = Image.new("RGB", (in_a_line * (width + GAP) + GAP, lines * (height + TITLE + GAP) + GAP), "#dcdee2")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(16)
    for number, (name, path) in enumerate(pictures):
        left, top = GAP + (number % in_a_line) * (width + GAP), GAP + (number // in_a_line) * (height + TITLE + GAP)
        draw.text((left, top), name.replace("-", " "), fill="#17191c", font=font)
        with Image.open(path) as picture:
            made.paste(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), (left, top + TITLE))
    return made


if __name__ == "__main__":
    typer.run(main)
