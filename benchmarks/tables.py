"""Tables of a run: for the terminal (rich) and for the documentation (markdown)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.summary import Mean, Row, duels, galleries_of, kinds_of, mean, methods_of


def print_tables(table: Sequence[Row], console: Console) -> None:
    """Gallery by gallery, then the means."""
    for gallery in galleries_of(table):
        console.print(gallery_table([row for row in table if row.gallery == gallery], methods_of(table)))
    console.print(_table("Means: mIoU / FBIoU in percent, gain over the base's plain pass in points", *means_rows(table)))
    heading, lines = duel_rows(table)
    if lines:
        console.print(_table("Beside ours, on the galleries that both were measured on: gain in mIoU / FBIoU", heading, lines))


def gallery_table(own: Sequence[Row], order: Sequence[str]) -> Table:
    """All methods on one gallery."""
    found = Table(title=f"{own[0].gallery} ({own[0].kind}): mIoU and FBIoU in percent, gain over the base in points")
    for name in ("method", "mIoU", "FBIoU", "mIoU gain", "FBIoU gain", "± seeds", "refused", "adapt s", "core s", "peak MB"):
        found.add_column(name, justify="left" if name == "method" else "right")
    for row in sorted(own, key=lambda row: order.index(row.method)):
        found.add_row(
            row.title, f"{row.miou:.1f}", f"{row.fbiou:.1f}", f"{row.miou_gain:+.1f}", f"{row.fbiou_gain:+.1f}",
            f"{row.spread:.1f}" if row.seeds > 1 else "", f"{row.refused}/{row.seeds}" if row.refused else "",
            f"{row.seconds:.0f}", f"{row.core_seconds:.0f}", f"{row.memory_mb:.0f}",
        )  # fmt: skip
    return found


def _mean_cells(value: Mean | None) -> tuple[str, str]:
    if value is None:
        return "", ""
    return f"{value.miou:.1f} / {value.fbiou:.1f}", f"{value.miou_gain:+.1f} / {value.fbiou_gain:+.1f}"


def means_rows(table: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of the means: per kind mIoU / FBIoU and gain; the worst gallery; cost."""
    kinds = kinds_of(table)
    counts = {kind: len({row.gallery for row in table if row.kind is kind}) for kind, _ in kinds}
    heading = ["method"]
    for kind, title in kinds:
        heading += [f"{title} ({counts[kind]})", "gain"]
    heading += ["worst gallery", "seeds", "adapt s", "core s", "peak MB"]
    lines = []
    for method in methods_of(table):
        own = [row for row in table if row.method == method]
        line = [own[0].title]
        for kind, _ in kinds:
            line += _mean_cells(mean(table, method, kind))
        line += [
            f"{min(row.miou_gain for row in own):+.1f}", _range([row.seeds for row in own]), f"{fmean(row.seconds for row in own):.0f}",
            f"{fmean(row.core_seconds for row in own):.0f}", f"{max(row.memory_mb for row in own):.0f}",
        ]  # fmt: skip
        lines.append(line)
    return heading, lines


def _range(numbers: Sequence[int]) -> str:
    """One number where all agree, else the smallest and the largest: a mean over galleries may have cells of more seeds for some."""
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)}–{max(numbers)}"


def duel_rows(table: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of `duels`."""
    heading = ["method", "galleries", "its gain", "gain of ours there", "ours ahead in mIoU"]
    lines = [
        [
            duel.title, str(duel.galleries), f"{duel.miou_gain:+.1f} / {duel.fbiou_gain:+.1f}",
            f"{duel.ours_miou_gain:+.1f} / {duel.ours_fbiou_gain:+.1f}", f"{duel.ahead} of {duel.galleries}",
        ]
        for duel in duels(table)
    ]  # fmt: skip
    return heading, lines


def _table(title: str, heading: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """For the terminal."""
    found = Table(title=title)
    for name in heading:
        found.add_column(name, justify="left" if name == "method" else "right")
    for line in lines:
        found.add_row(*line)
    return found


def markdown(table: Sequence[Row]) -> str:
    """The means, and every method's gain on every gallery."""
    heading, lines = means_rows(table)
    parts = [
        "mIoU / FBIoU in percent; gain over the base's plain pass in points; worst gallery: the smallest mIoU gain.",
        _markdown_table(heading, lines),
    ]
    galleries = galleries_of(table)
    titles = {row.gallery: row.gallery_title for row in table}
    gains = []
    for method in methods_of(table):
        own = {row.gallery: row for row in table if row.method == method}
        cells = [f"{own[g].miou_gain:+.1f} / {own[g].fbiou_gain:+.1f}" if g in own else "" for g in galleries]
        gains.append([next(iter(own.values())).title, *cells])
    heading, lines = duel_rows(table)
    if lines:
        words = "Beside ours, each on the galleries that both were measured on (gain in mIoU / FBIoU, mean over these galleries):"
        parts += [words, _markdown_table(heading, lines)]
    parts += ["Gain in mIoU / FBIoU, gallery by gallery:", _markdown_table(["method", *(titles[g] for g in galleries)], gains)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(heading) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, rule, *lines))
