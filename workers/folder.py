"""`python -m workers.folder --out OUT < photos.json`: the method alone on files, without a service. `personalseg personalize` runs it.

The standard input is a JSON list of `[path, name]`: each photo's masks are written to `OUT/<kind>/<name>`.
Exit codes: 0 fine (keeping the base is an answer) · 1 a photo, its overlay or the whole failed · 2 cannot be done · 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import typer
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.decoding.errors import PhotoRejected
from app.decoding.pool import DecoderPool
from app.interrupts import end_as_by_ctrl_c
from app.setting_errors import BAD_SETTING, setting_sentence
from app.settings import Settings
from app.text import printable
from app.whole_file import naming
from models import Base, PersonalizeConfig, Segmentation, learned_side, personalize, save_personal, segment
from models import Progress as MethodProgress
from models.bases.errors import BaseNotAvailable
from models.datasets import LabelledFolder
from models.types import Cancelled, ModelFileError, PhotoUnavailable
from workers.cache import BaseCache, UnknownBase
from workers.codec import class_summary, encode_confidence, encode_labels
from workers.devices import choose_device
from workers.memory import bound_allocator
from workers.workshop import source_photos

EXIT_FAILED, EXIT_CANNOT, EXIT_INTERRUPTED = 1, 2, 130
MADE_BY = "personalseg personalize"

OnStep = Callable[[str, float], None]


@dataclass(frozen=True)
class PhotoFile:
    """A photo on this computer, and what its masks are called below each folder of OUT."""

    path: Path
    name: str


class Folder:
    """The `PhotoSource` of some files; what cannot be decoded is left out of the learning."""

    def __init__(self, files: Sequence[PhotoFile], decoder: DecoderPool, at_least: int | None = None) -> None:
        """`at_least`: photos may come smaller than they are, where no side falls below so many pixels; None: at their own size."""
        self._files = tuple(files)
        self._decoder = decoder
        self._at_least = at_least

    @property
    def ids(self) -> Sequence[str]:
        """The files' paths."""
        return tuple(str(file.path) for file in self._files)

    def load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, upright RGB; raises PhotoUnavailable."""
        with _telling(), _opened(self._files[index].path) as stream:
            raw = self._decoder.pixels(stream, self._at_least)
        return np.frombuffer(raw.data, dtype=np.uint8).reshape(raw.height, raw.width, 3)


@contextmanager
def _telling() -> Iterator[None]:
    """Whatever becomes of reading and decoding one photo is PhotoUnavailable, with a sentence that says why."""
    try:
        yield
    except PhotoRejected as rejection:
        raise PhotoUnavailable(rejection.reason) from rejection
    except OSError as error:
        raise PhotoUnavailable(f"The file cannot be read ({error.strerror or error}).") from error


def _opened(path: Path) -> IO[bytes]:
    """Raises OSError, also for a pipe, which would be waited for for ever. (A folder that cannot be listed may be among the photos.)"""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "no regular file")
    return path.open("rb")


@dataclass
class Result:
    """What is told at the end; `files` are relative to OUT, `sha256` are theirs: one that was edited since is not replaced.

    A photo whose overlay could not be made has its mask all the same, `overlay` null and `overlay_missing`, which says why.
    """

    base: str
    report: dict[str, Any] = field(default_factory=dict)
    model_file: str | None = None
    photos: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def without_overlay(self) -> list[dict[str, Any]]:
        """Of `photos`, those whose overlay could not be made."""
        return [photo for photo in self.photos if photo["overlay"] is None]

    def to_json(self) -> dict[str, Any]:
        """The document of report.json."""
        return {"made_by": MADE_BY, **self.__dict__}


class BudgetTooLarge(Exception):
    """More seconds than the settings allow."""

    def __init__(self, wanted: float, most: float) -> None:
        super().__init__(f"--budget is at most {most:g} here (PERSONALSEG_MAX_ADAPTATION_BUDGET_SECONDS), not {wanted:g}.")


def personalize_folder(
    base: Base,
    files: Sequence[PhotoFile],
    out: Path,
    config: PersonalizeConfig,
    decoder: DecoderPool,
    on_step: OnStep,
    source: LabelledFolder | None = None,
) -> Result:
    """Adapt the base to the photos and segment them by what the guard lets serve; writes into `out`.

    `source`: labelled photos to align with first, as `models.personalize` takes them.
    """
    photos = Folder(files, decoder)
    small = Folder(files, decoder, learned_side(base, config))
    found = personalize(base, small, config, source=source, on_progress=lambda progress: on_step(*_told(progress)))
    result = Result(base.info.name, report=found.report)
    if found.model is not None:
        result.model_file = _write(out, "model.safetensors", save_personal(found.model), result)
    for index, file in enumerate(files):
        on_step(f"segmenting {index + 1}/{len(files)}", 0.8 + 0.2 * index / len(files))
        try:
            photo = photos.load(index)
        except PhotoUnavailable as error:
            result.rejected.append({"path": str(file.path), "reason": str(error)})
            continue
        mask = segment(base, photo, found.model)
        _write_photo(out, file, mask, base, decoder, result)
    on_step("done", 1.0)
    return result


def _told(progress: MethodProgress) -> tuple[str, float]:
    steps = f" {progress.step}/{progress.steps}" if progress.steps else ""
    return f"{progress.stage}{steps}", 0.8 * progress.fraction


def _write_photo(out: Path, file: PhotoFile, mask: Segmentation, base: Base, decoder: DecoderPool, result: Result) -> None:
    labels = encode_labels(mask.labels, base.info.palette)
    written: dict[str, str | None] = {
        "mask": _write(out, f"masks/{file.name}", labels, result),
        "confidence": _write(out, f"confidence/{file.name}", encode_confidence(mask.confidence), result),
    }
    try:
        overlay = _overlay(file, labels, decoder)
    except PhotoUnavailable as error:
        written |= {"overlay": None, "overlay_missing": str(error)}
    else:
        written["overlay"] = _write(out, f"overlays/{file.name}", overlay, result)
    classes = class_summary(mask.labels, mask.confidence, base.info.class_names)
    result.photos.append({"path": str(file.path), **written, "classes": classes})


def _overlay(file: PhotoFile, labels: bytes, decoder: DecoderPool) -> bytes:
    """The photo under its mask; raises PhotoUnavailable."""
    with _telling(), _opened(file.path) as photo:
        return decoder.overlay(photo, io.BytesIO(labels))


def _write(out: Path, name: str, content: bytes, result: Result) -> str:
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(out.parent):  # OUT itself has a name for the time of the run
        path.write_bytes(content)
    result.files.append(name)
    result.sha256[name] = hashlib.sha256(content).hexdigest()
    return name


# The command ----------------------------------------------------------------------------------------------------------


def main(
    out: Annotated[Path, typer.Option(help="An existing folder.")],
    base: Annotated[str | None, typer.Option()] = None,
    budget_seconds: Annotated[float | None, typer.Option("--budget", min=1)] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1)] = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Read the list of photos from the standard input, do the work, tell the result."""
    bound_allocator()
    files = _sent()
    with _failures(as_json):
        settings = Settings()
        config = PersonalizeConfig(budget_seconds=_budget(budget_seconds, settings), seed=seed)
        device, source = choose_device(settings.device), source_photos(settings)
        end_as_by_ctrl_c()  # from here on there are children to be stopped
        decoder = DecoderPool(settings.decoding_limits())
        try:
            with _progress(as_json) as on_step:
                loaded = BaseCache(device, settings.weights_dir, settings.weights_mirror).get(base or settings.default_base)
                result = personalize_folder(loaded, files, out, config, decoder, on_step, source)
        finally:
            decoder.close()
        with naming(out.parent):
            (out / "report.json").write_text(printable(json.dumps(result.to_json(), indent=2, ensure_ascii=False)) + "\n", "utf-8")
    _tell(result, as_json)
    raise typer.Exit(EXIT_FAILED if result.rejected or result.without_overlay else 0)


def _sent() -> list[PhotoFile]:
    """The list on the standard input; ends as after Ctrl-C where it is cut off: who sends it has been broken off, and says so."""
    try:
        return [PhotoFile(Path(path), name) for path, name in json.load(sys.stdin)]
    except json.JSONDecodeError:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _budget(wanted: float | None, settings: Settings) -> float:
    """Raises BudgetTooLarge."""
    if wanted is None:
        return settings.adaptation_budget_seconds
    if wanted > settings.max_adaptation_budget_seconds:
        raise BudgetTooLarge(wanted, settings.max_adaptation_budget_seconds)
    return wanted


def _tell(result: Result, as_json: bool) -> None:
    if as_json:
        typer.echo(printable(json.dumps(result.to_json(), indent=2, ensure_ascii=False)))
        return
    typer.echo(result.report.get("verdict", {}).get("sentence", ""))
    typer.echo(f"{len(result.photos)} photos segmented by {'the base' if result.model_file is None else 'your personal model'}.")
    for entry in result.rejected:
        typer.echo(printable(f"- {entry['path']}: {entry['reason']}"), err=True)
    for photo in result.without_overlay:
        typer.echo(printable(f"- {photo['path']}: it has its mask, but no overlay: {photo['overlay_missing']}"), err=True)


@contextmanager
def _progress(quiet: bool) -> Iterator[OnStep]:
    """A bar on the standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("Personalising"), BarColumn(bar_width=32), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("[dim]{task.fields[note]}[/]"), console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0, note="loading")
        yield lambda note, share: bar.update(task, completed=share, note=note)


@contextmanager
def _failures(as_json: bool) -> Iterator[None]:
    code, sentence, exit_code = "", "", EXIT_CANNOT
    try:
        yield
        return
    except UnknownBase as error:
        code, sentence = "unknown_base", str(error)
    except BaseNotAvailable as error:
        code, sentence, exit_code = error.code, str(error), EXIT_FAILED
    except ModelFileError as error:
        code, sentence, exit_code = "model_file_invalid", f"The base's weights do not fit: {error}.", EXIT_FAILED
    except BAD_SETTING as error:
        code, sentence = "bad_setting", setting_sentence(error)
    except BudgetTooLarge as error:
        code, sentence = "budget_too_large", str(error)
    except OSError as error:
        code, sentence, exit_code = "file_error", f"{error.filename or 'A file'}: {error.strerror or error}.", EXIT_FAILED
    except Cancelled:
        code, sentence, exit_code = "cancelled", "Stopped.", EXIT_INTERRUPTED
    if as_json:
        typer.echo(json.dumps({"error": {"code": code, "message": sentence}}, indent=2))
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"personalseg: {sentence}", markup=False)
    raise typer.Exit(exit_code)


if __name__ == "__main__":
    try:
        typer.run(main)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
