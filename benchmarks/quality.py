"""`python -m benchmarks.quality`: the survey. Which method makes a user's masks better, by how much, at what cost?

Every cell (method × gallery × seed) is computed in a process of its own and cached, so that a run can be broken off and continued.
Labels are used for scoring only.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.album import album_of
from benchmarks.cells import RESULTS, SOURCE, CellSpec, CellStore
from benchmarks.galleries import open_gallery
from benchmarks.pss import users
from benchmarks.recipes import JUNK_GALLERIES, PSS, REPORTED, SHORT, GalleryRecipe, Kind, parse_recipe
from benchmarks.runner import Run, Runner, known_bases
from benchmarks.summary import Row, rows
from benchmarks.survey.methods import BASE, METHODS
from benchmarks.tables import markdown, print_tables
from benchmarks.verdicts import judged
from models.config import PersonalizeConfig
from workers.devices import is_there

SHORT_EPOCHS, SHORT_BUDGET = 2, 20.0
SETTINGS = tuple(field.name for field in fields(PersonalizeConfig) if field.name not in ("seed", "budget_seconds"))
"""What `--set` may name; the other two are `--seeds` and `--budget`."""
"""What `--set` takes."""


def choose_methods(names: list[str] | None, *, short: bool, guard: bool) -> list[str]:
    """Method names, the base first. `names`: names or `ours*`-like beginnings. Raises typer.BadParameter for one that is unknown."""
    if not names:
        return [name for name, entry in METHODS.items() if (guard or not entry.for_guard_only) and (entry.short or not short)]
    chosen: list[str] = []
    for text in (part for item in names for part in item.split(",")):
        found = [name for name in METHODS if name == text or (text.endswith("*") and name.startswith(text[:-1]))]
        if not found:
            raise typer.BadParameter(f"no method named {text!r}; there are {', '.join(METHODS)}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def plan(methods: list[str], recipes: list[GalleryRecipe], seeds: int | None, pss: Path | None = None, **common: Any) -> list[CellSpec]:
    """The cells of a run, the base's first, gallery by gallery. Junk is for ours only. `seeds`: for all methods instead of each its own."""
    specs: list[CellSpec] = []
    settings = common.pop("settings", {})
    for recipe in recipes:
        album = album_of(recipe, pss)
        specs.append(CellSpec(BASE, recipe, album=album, **common).of_base())
        for name in methods:
            entry = METHODS[name]
            if name == BASE or (recipe.kind is Kind.JUNK and not entry.ours):
                continue
            for seed in range(1 if recipe.kind is Kind.JUNK else seeds or entry.seeds):
                specs.append(CellSpec(name, recipe, seed, album=album, **common, settings=settings if entry.ours else {}))
    return specs


def parse_settings(items: list[str] | None) -> dict[str, Any]:
    """`name=value` (JSON) to settings. Raises typer.BadParameter."""
    settings: dict[str, Any] = {}
    for item in items or []:
        name, equals, value = item.partition("=")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise typer.BadParameter(f"{item!r}: expected name=value with a JSON value") from error
        if not equals:
            raise typer.BadParameter(f"{item!r}: expected name=value")
        if name not in SETTINGS:
            raise typer.BadParameter(f"no setting named {name!r}; there are {', '.join(SETTINGS)}")
    return settings


def choose_recipes(gallery: list[str] | None, pss: Path | None, *, short: bool, junk: bool) -> list[GalleryRecipe]:
    """What to measure on: those named, else the PSS users, else the reported or the short list; and junk where asked for.

    Raises typer.BadParameter for a gallery that cannot be, and a folder that is no PSS data set.
    """
    try:
        if gallery:
            recipes = [parse_recipe(text) for text in gallery]
        elif pss is not None:
            recipes = [GalleryRecipe(PSS + user) for user in users(pss)]
        else:
            recipes = list(SHORT if short else REPORTED)
        for recipe in recipes:
            if recipe.kind is Kind.PSS:
                open_gallery(recipe, Path(), pss)  # all of it is there, before the first of many cells fails of it
    except FileNotFoundError as error:
        raise typer.BadParameter(f"{error}; docs/how-to/research.md shows its layout") from error
    return recipes + (list(JUNK_GALLERIES) if junk else [])


def source_of(source: str, data: Path) -> str:
    """As cells name it: inside the data folder, where it is there, else absolute.

    The default is never made absolute: cells made with it elsewhere can be read where the photos are not.
    """
    inside = source == SOURCE or (not Path(source).is_absolute() and (data / source).is_dir())
    return source if inside else str(Path(source).resolve())


def require_data(recipes: list[GalleryRecipe], methods: list[str], data: Path, source: str) -> None:
    """Raises typer.BadParameter where a folder of photos is missing, before the first of many cells fails of it."""
    folders = {data / "voc2012" / "val" for recipe in recipes if recipe.kind in (Kind.SHIFTED, Kind.UNTOUCHED)}
    folders |= {data / "camvid" / recipe.subject for recipe in recipes if recipe.kind is Kind.CAMVID}
    if any(METHODS[name].method.needs_source for name in methods):
        folders.add(data / source)
    missing = sorted(str(folder) for folder in folders if not folder.is_dir())
    if missing:
        raise typer.BadParameter(f"there is no {', no '.join(missing)}: see --data and --source, and docs/how-to/research.md")


def require_device(name: str) -> None:
    """Raises typer.BadParameter where this machine does not have it, before every cell fails of it."""
    if not is_there(name):
        raise typer.BadParameter(f"torch finds no device {name!r} on this machine: see --device")


def write_results(table: list[Row], run: Run, runner: Runner, specs: list[CellSpec], out: Path, name: str, console: Console) -> None:
    """NAME.json (the rows and what failed), NAME.md (for docs/method.md), NAME-miou.png, NAME-fbiou.png and the sheets of ours, seed 0."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"rows": [asdict(row) for row in table], "failures": [failure.to_json() for failure in run.failures]}
    (out / f"{name}.json").write_text(json.dumps(content, indent=1))
    (out / f"{name}.md").write_text(markdown(table))
    if find_spec("matplotlib") is None:
        console.print("No plots: matplotlib is not installed (pip install 'personalseg[bench]').")
        return
    from benchmarks import plots  # only where matplotlib is there

    for metric in ("miou", "fbiou"):
        plots.gain_bars(table, metric, out / f"{name}-{metric}.png")
    ours = [spec for spec in specs if spec.method == "ours" and spec.seed == 0]
    plots.gather_sheets([(spec.gallery.name, runner.store.path(spec, runner.infos[spec.base])) for spec in ours], out / "sheets")
    console.print(f"wrote {out / name}.json, .md, -miou.png, -fbiou.png and the sheets")


def main(
    data: Annotated[Path, typer.Option(help="Folder with voc2012/{train,val} and camvid.")] = Path("../shared/data"),
    pss: Annotated[Path | None, typer.Option(help="The PSS data set (id1 … id15): measure on its users.")] = None,
    gallery: Annotated[list[str] | None, typer.Option(help="subject[:camera[:seed[:photos[:half]]]]; repeatable.")] = None,
    methods: Annotated[list[str] | None, typer.Option(help="Names, separated by commas; `ours*` for all that begin so.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of every method; without: as the table of methods says.")] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Three small galleries, two passes, one seed: every method in a quarter of an hour.")
    ] = False,
    guard: Annotated[bool, typer.Option("--guard", help="Also the methods that are meant to go wrong, and the junk galleries.")] = False,
    source: Annotated[str, typer.Option(help="Labelled source photos (VOC layout), inside the data folder or a path of its own.")] = SOURCE,
    base: Annotated[str, typer.Option(help="Base model.")] = "espnetv2",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    budget: Annotated[float | None, typer.Option(min=0.001, help="Seconds of adaptation; 240, in the short form 20.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Planned passes over a gallery; 4, in the short form 2.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting of ours, name=value (PersonalizeConfig).")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at the same time; times and memory are only right with 1.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the table, the JSON and the plots; cells/ in it is the cache.")] = RESULTS,
    list_: Annotated[bool, typer.Option("--list", help="List methods and galleries, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be computed, and stop.")] = False,
    cached: Annotated[bool, typer.Option("--cached", help="Compute nothing: the tables and plots of the cells that are there.")] = False,
) -> None:
    """Compare adaptation methods on labelled galleries."""
    console = Console(width=160)
    if list_:
        for name, entry in METHODS.items():
            mark = " (for the guard's table only)" if entry.for_guard_only else ""
            console.print(f"{name:28} {entry.title}{mark}  {entry.method.paper}  seeds {entry.seeds}", highlight=False)
        for recipe in (*REPORTED, *JUNK_GALLERIES):
            console.print(f"{recipe.name:36} {recipe.kind}", highlight=False)
        return
    from_source = source_of(source, data)
    common = {
        "base": base, "device": device, "budget_seconds": budget or (SHORT_BUDGET if short else 240.0),
        "epochs": epochs or (SHORT_EPOCHS if short else 4), "settings": parse_settings(set_),
        "source": from_source,
    }  # fmt: skip
    out, infos = out.resolve(), known_bases()  # a cell's process has a working directory of its own
    if base not in infos:
        raise typer.BadParameter(f"no base named {base!r}; there are {', '.join(infos)}")
    recipes = choose_recipes(gallery, pss, short=short, junk=guard)
    chosen = choose_methods(methods, short=short, guard=guard)
    specs = plan(chosen, recipes, 1 if short and seeds is None else seeds, pss, **common)
    runner = Runner(infos, data.resolve(), CellStore(out / "cells"), pss and pss.resolve(), jobs)
    missing = runner.missing(specs)
    console.print(f"{len(specs)} cells, {len(specs) - len(missing)} of them cached")
    if dry_run:
        for spec in missing:
            console.print(f"to compute: {spec.name}", highlight=False)
        return
    if cached:
        for method, count in Counter(spec.method for spec in missing).items():
            console.print(f"not in the tables: {count} cells of {METHODS[method].title}", highlight=False)
        specs, missing = [spec for spec in specs if spec not in missing], []
    if missing:
        require_device(device)
        require_data([spec.gallery for spec in missing], [spec.method for spec in missing], data, from_source)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("cells", total=len(missing))

        def tell(spec: CellSpec, failed: bool) -> None:
            bar.advance(task)
            bar.console.print(f"{'FAILED ' if failed else ''}{spec.name}", highlight=False)

        run = runner.run(specs, tell)
    table = rows(judged(cell, runner.infos[cell["spec"]["base"]]) for cell in run.cells)
    if table:
        print_tables(table, console)
        write_results(table, run, runner, specs, out, "short" if short else "pss" if pss else "quality", console)
    for failure in run.failures:
        console.print(f"[red]failed[/red] {failure.spec.name}: {failure.reason}", highlight=False)
    if run.failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
