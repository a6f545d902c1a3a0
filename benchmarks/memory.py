"""`python -m benchmarks.memory`: the memory of a worker that adapts to a large gallery: its peak in each stage, beside the promised bound.

A folder of JPEGs of a camera's size is made from a few patterns; the gallery is read from it photo by photo. The personalisation runs in a
process of its own, set up as a worker's, with its checkpoints written to a file; a thread notes the resident memory every few milliseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import torch
import typer
from jaxtyping import UInt8
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from models import PersonalizeConfig, load_base, personalize
from models.types import Progress
from workers.memory import bound_allocator

BOUND_BYTES = 1.5e9
PATTERNS = 12  # different photos are drawn; the others are the same in other light
LOOK_SECONDS = 0.005
app = typer.Typer(add_completion=False)


def make_photos(folder: Path, count: int, width: int, height: int) -> None:
    """JPEGs: smooth colours with objects of a few shapes, each a little different."""
    rng = np.random.default_rng(0)
    patterns = [_pattern(rng, width, height) for _ in range(PATTERNS)]
    for index in range(count):
        light = float(rng.uniform(0.7, 1.2))
        image = patterns[index % PATTERNS].point(lambda value, light=light: min(255, int(value * light)))
        image.save(folder / f"{index:05d}.jpg", quality=85)


def _pattern(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    sharp = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)).resize((width, height))
    return Image.blend(coarse, sharp, 0.15)


@dataclass(frozen=True)
class Folder:
    """A `models.PhotoSource` that reads a folder of JPEGs as it is asked to."""

    paths: Sequence[Path]

    @property
    def ids(self) -> Sequence[str]:
        """File names."""
        return [path.name for path in self.paths]

    def load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """EXIF-upright RGB."""
        with Image.open(self.paths[index]) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))


@dataclass
class OnDisk:
    """A `models.CheckpointStore` in one file, which counts what it costs."""

    path: Path
    seconds: list[float] = field(default_factory=list)
    largest: int = 0

    def load(self) -> bytes | None:
        """Nothing: every measurement begins at the beginning."""
        return None

    def save(self, data: bytes) -> None:
        """Writes the file."""
        started = time.perf_counter()
        self.path.write_bytes(data)
        self.seconds.append(time.perf_counter() - started)
        self.largest = max(self.largest, len(data))


class Watch:
    """The highest resident memory of this process in each stage."""

    def __init__(self) -> None:
        self.stage = "loading"
        self.peaks: dict[str, int] = {}
        self._process, self._ended = psutil.Process(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def hear(self, progress: Progress) -> None:
        """A stage's first step is already the stage's."""
        self.stage = progress.stage

    def stop(self) -> dict[str, int]:
        """The peaks, in bytes."""
        self._ended.set()
        self._thread.join()
        return self.peaks

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.peaks[self.stage] = max(self.peaks.get(self.stage, 0), self._process.memory_info().rss)


@app.command()
def measure(
    folder: Annotated[Path, typer.Argument(help="Of JPEGs.")],
    base: Annotated[str, typer.Option()] = "espnetv2",
    budget: Annotated[float, typer.Option(help="Seconds.")] = 240.0,
    photos_at_once: Annotated[int, typer.Option(help="0: as on a CPU.")] = 0,
    usual_allocator: Annotated[bool, typer.Option(help="glibc as it comes.")] = False,
) -> None:
    """In this process: personalise, print JSON."""
    if not usual_allocator:
        bound_allocator()
    watch = Watch()
    store = OnDisk(folder / "checkpoint")
    config = PersonalizeConfig(budget_seconds=budget, photos_at_once=photos_at_once or None)
    gallery = Folder(sorted(folder.glob("*.jpg")))
    result = personalize(load_base(base), gallery, config, on_progress=watch.hear, checkpoints=store)
    report = result.report
    told: dict[str, Any] = {
        "peaks": watch.stop(),
        "photos": {name: report.get(name) for name in ("photos", "photos_seen", "photos_learned_from")},
        "steps": report.get("training"),
        "seconds": report["seconds"],
        "verdict": report["verdict"]["code"],
        "checkpoints": {"saves": len(store.seconds), "largest_bytes": store.largest, "slowest_seconds": max(store.seconds, default=0.0)},
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(told))


@app.command()
def run(
    photos: Annotated[int, typer.Option(help="Size of the gallery.", min=2)] = 2000,
    width: Annotated[int, typer.Option(help="Of a photo, pixels; the height is three quarters of it.", min=64)] = 2000,
    base: Annotated[str, typer.Option(help="Base model.")] = "espnetv2",
    budget: Annotated[float, typer.Option(help="Seconds of the adaptation.")] = 240.0,
    photos_at_once: Annotated[int, typer.Option(help="Photos through the network at once; 0: as on a CPU.")] = 0,
    usual_allocator: Annotated[bool, typer.Option(help="Leave glibc's allocator as it comes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
) -> None:
    """Make the gallery, measure, print a table; ends with 1 where the bound is passed."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="pseg-memory-") as name:
        make_photos(Path(name), photos, width, width * 3 // 4)
        command = [sys.executable, "-m", "benchmarks.memory", "measure", name, "--base", base, "--budget", str(budget)]
        command += ["--photos-at-once", str(photos_at_once), *(["--usual-allocator"] if usual_allocator else [])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    table = Table("stage", "peak MB", title=f"{base}, {photos} photos of {width}×{width * 3 // 4}, budget {budget:g} s")
    for stage, peak in told["peaks"].items():
        table.add_row(stage, f"{peak / 1e6:.0f}")
    console.print(table)
    console.print({name: value for name, value in told.items() if name != "peaks"})
    if out is not None:
        out.write_text(json.dumps(told, indent=2))
    if max(told["peaks"].values()) > BOUND_BYTES:
        console.print(f"[red]over the bound of {BOUND_BYTES / 1e6:.0f} MB[/red]")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
