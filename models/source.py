"""`python -m models.source fetch DIR`: the public source set (PASCAL VOC 2012) for step 1, alignment, fetched by torchvision.

The photos come under the terms of Flickr and are for research; they never travel with the project or with a model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from models.datasets import LabelledFolder, UnusableFile
from models.labels import VOC_CLASSES
from models.torchvision_ops import define_missing_schemas

YEAR = "2012"
SPLITS = ("train", "trainval", "val")
app = typer.Typer(no_args_is_help=True, add_completion=False)


class SourceError(RuntimeError):
    """The source set could not be fetched or is not what it should be. Says why, and what to do."""


def voc_dataset() -> Callable[..., Any]:
    """torchvision's class, imported when it is needed: it takes a second or two."""
    define_missing_schemas()  # lets torchvision be imported beside a CPU build of torch
    from torchvision.datasets import VOCSegmentation

    return VOCSegmentation  # type: ignore[no-any-return]


def open_source(folder: Path, split: str = "train") -> LabelledFolder:
    """The labelled photos of a source folder: PASCAL's list `split` where the folder has one, else all. Raises FileNotFoundError."""
    return LabelledFolder.open_list(folder, split).of_classes(len(VOC_CLASSES))


def fetch_source(folder: Path, split: str = "train", *, dataset: Callable[..., Any] | None = None) -> LabelledFolder:
    """Downloads PASCAL VOC 2012 (2 GB, MD5-checked by torchvision) into `folder/VOCdevkit/VOC2012`, unless it is there; opens the split.

    `dataset`: torchvision's VOCSegmentation, or a stand-in for it. Raises SourceError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return LabelledFolder.open_split(folder, split)
    except FileNotFoundError:
        pass  # not there yet, or only in part: fetched again
    try:
        (dataset or voc_dataset())(root=str(folder), year=YEAR, image_set=split, download=True)
    except (OSError, RuntimeError) as error:
        raise SourceError(
            f"PASCAL VOC 2012 could not be fetched: {error}. Unpack VOCtrainval_11-May-2012.tar in {folder} by hand."
        ) from error
    try:
        return LabelledFolder.open_split(folder, split)
    except FileNotFoundError as error:
        raise SourceError(f"what was fetched is not PASCAL VOC 2012: {error}") from error


@app.callback()
def main() -> None:
    """The source set for alignment."""


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(help="Where to keep it (2 GB to download, 4 GB on disk while it unpacks).")],
    split: Annotated[str, typer.Option(help=f"Which list to open at the end: {', '.join(SPLITS)}.")] = "train",
) -> None:
    """Fetch PASCAL VOC 2012's labelled photos by torchvision."""
    if split not in SPLITS:
        raise typer.BadParameter(f"{split!r}: expected one of {', '.join(SPLITS)}")
    console = Console(stderr=True)
    try:
        found = fetch_source(folder, split)
    except SourceError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        raise typer.Exit(1) from error
    console.print(f"{len(found)} labelled photos in {found.root}", highlight=False)


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="The folder of PERSONALSEG_SOURCE_DIR.")]) -> None:
    """Read every photo and mask that adaptations may draw; name those that cannot be used. Exit code 1 where there are any."""
    console = Console(stderr=True)
    try:
        found = open_source(folder)
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    unusable = []
    for index in track(range(len(found)), "reading", console=console):
        try:
            found.load(index)
            found.label(index)
        except UnusableFile as error:
            unusable.append(str(error))
    for complaint in unusable:
        console.print(complaint, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(found)} labelled photos in {found.root}, {len(unusable)} of them unusable", highlight=False, soft_wrap=True)
    if unusable:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
