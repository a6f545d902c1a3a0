"""`personalseg adapt`, `segment`, `cancel`: start the work, watch it, take its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.console import EXIT_FAILED, EXIT_FINE, EXIT_INTERRUPTED, AsJson, errors, failures, print_json, require_folder, stop
from app.cli.mask_folder import MaskFolder, WouldOverwrite
from app.cli.progress import counting, following
from app.client import Client, GallerySegmentation, Image, Job, MaskFormat, ModelChoice, NotFound
from app.exports.names import unique_paths

BaseOption = Annotated[str | None, typer.Option(help="The base model, by name.", show_default="the service's")]


def adapt(
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end. Ctrl-C stops watching, not the work.")] = False,
    budget_seconds: Annotated[
        float | None, typer.Option("--budget", min=1, help="Seconds that it may take.", show_default="the service's")
    ] = None,
    base: BaseOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers.", show_default="0")] = None,
    as_json: AsJson = False,
) -> None:
    """Adapt the model to your photos, without a label. One that is under way is joined, not started twice.

    The guard may keep the base: that is an answer (status `refused`, exit code 0), and the reason is printed.

    Examples:

      personalseg adapt --watch

      personalseg adapt --budget 60 --json
    """
    with failures(as_json), Client.logged_in() as client:
        job = client.adapt(budget_seconds=budget_seconds, base=base, seed=seed)
        if watch:
            job = _watched(client, job, "Adapting", as_json)
    _tell(job, "`personalseg status` shows how it goes, `personalseg adapt --watch` follows it.", as_json)


def segment(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the masks, nested as the photos were.")] = None,
    model: Annotated[str, typer.Option(help="`personal`, `base`, or a version.")] = "personal",
    format: Annotated[
        Literal["png", "overlay", "confidence"], typer.Option(help="png: class ids; overlay: to look at; confidence: white is certain.")
    ] = "png",
    adapt: Annotated[Literal["auto", "always", "never"], typer.Option("--adapt", help="Adapt first: where due, always, never.")] = "auto",
    base: BaseOption = None,
    as_json: AsJson = False,
) -> None:
    """Segment all photos, wait for it, and write the masks into a folder. Files that it did not write itself are never replaced.

    A gallery of more photos than one job takes is segmented in several, one after the other (`jobs` with --json). Exit code 1
    where a photo could not be segmented; the others are written.

    Examples:

      personalseg segment -o masks

      personalseg segment --model base --adapt never --format overlay -o before
    """
    choice = _choice(model, as_json)
    if out is not None:
        require_folder(out, as_json)
    with failures(as_json), _kept_files(as_json), Client.logged_in() as client:
        folder = None if out is None else MaskFolder(out, format)
        if folder is not None:
            folder.require_free(_mask_names(client.images()))
        job = _segmented(client, choice, adapt, base, as_json)
        job.require_success()
        failed = {item.image_id: item.error_reason or "It could not be segmented." for item in job.items if item.status == "failed"}
        used: ModelChoice = job.model_version or "base"
        of_base = job.base if used == "base" else None
        written = {} if folder is None else _write_masks(client, folder, used, of_base, format, skip=set(failed), quiet=as_json)
    if as_json:
        print_json({**job.model_dump(), "written": {image_id: str(path) for image_id, path in written.items()}})
    else:
        by = "the base" if used == "base" else f"personal model {used}"
        typer.echo(f"{sum(item.status == 'done' for item in job.items)} photos segmented by {by}.")
        if out is not None:
            typer.echo(f"{len(written)} masks are in {out}.")
        for item in job.items:
            if item.image_id in failed:
                errors().print(f"- {item.filename}: {failed[item.image_id]}", markup=False)
    raise typer.Exit(EXIT_FAILED if failed else EXIT_FINE)


def cancel(as_json: AsJson = False) -> None:
    """Stop whatever is queued or running for you; it ends within seconds, and nothing that is there is lost.

    Example:

      personalseg cancel
    """
    with failures(as_json), Client.logged_in() as client:
        stopped = [client.cancel(job) for kind in ("adaptation", "segmentation") for job in _unfinished(client, kind)]
    if as_json:
        print_json({"cancelled": [job.id for job in stopped]})
    else:
        typer.echo("\n".join(f"{job.kind} {job.id} will stop." for job in stopped) or "Nothing is going on.")


def _unfinished(client: Client, kind: Literal["adaptation", "segmentation"]) -> list[Job]:
    return [job for job in client.jobs(kind) if not job.ended]


def _watched(client: Client, job: Job, title: str, quiet: bool) -> Job:
    try:
        with following(title, quiet=quiet) as follow:
            return client.wait(job, follow)
    except KeyboardInterrupt:
        raise _left(job.kind) from None


def _segmented(
    client: Client, model: ModelChoice, adapt: Literal["auto", "always", "never"], base: str | None, quiet: bool
) -> GallerySegmentation:
    seen: GallerySegmentation | None = None
    try:
        with following("Segmenting", quiet=quiet) as follow:

            def note(job: GallerySegmentation) -> None:
                nonlocal seen
                seen = job
                follow(job)

            return client.segment_all(model=model, adapt=adapt, base=base, on_progress=note)
    except KeyboardInterrupt:
        if seen is None:
            raise
        rest = f" {seen.photos_to_come} photos are not begun: the same command goes on from there." if seen.photos_to_come else ""
        raise _left("segmentation", rest) from None


def _left(kind: str, rest: str = "") -> typer.Exit:
    """Tells who has pressed Ctrl-C what becomes of the job; the end to raise."""
    errors().print(f"The {kind} goes on without you; `personalseg status` shows it, `personalseg cancel` stops it.{rest}")
    return typer.Exit(EXIT_INTERRUPTED)


def _tell(job: Job, hint: str, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump())
    elif not job.ended:
        typer.echo(f"The {job.kind} {job.id} is {job.status}. {hint}")
    else:
        typer.echo(_end_of(job))
    raise typer.Exit(EXIT_FAILED if job.status in {"failed", "cancelled"} else EXIT_FINE)


def _end_of(job: Job) -> str:
    verdict = (job.report or {}).get("verdict")
    sentence = verdict.get("sentence") if isinstance(verdict, dict) else None
    told = job.error_reason or sentence or ""
    if job.status == "succeeded":
        return f"{told} It is version {job.model_version}.".strip()
    return f"The {job.kind} was {job.status}: {told}" if told else f"The {job.kind} was {job.status}."


def _choice(model: str, as_json: bool) -> ModelChoice:
    if model in {"personal", "base"}:
        return "personal" if model == "personal" else "base"
    if not (model.isascii() and model.isdigit() and int(model) > 0):
        stop(f"There is no model {model!r}: say `personal`, `base` or a version such as 2.", code="bad_model", as_json=as_json)
    return int(model)


@contextmanager
def _kept_files(as_json: bool) -> Iterator[None]:
    try:
        yield
    except WouldOverwrite as error:
        stop(str(error), code="would_overwrite", as_json=as_json)


def _mask_names(images: Sequence[Image]) -> list[str]:
    return [f"{path}.png" for path in unique_paths(image.filename for image in images)]


def _write_masks(
    client: Client, folder: MaskFolder, model: ModelChoice, base: str | None, format: MaskFormat, *, skip: set[str], quiet: bool
) -> dict[str, Path]:
    """One PNG a photo, named after it, in folders like its own; photos that have come since have no mask and are left out."""
    images: list[Image] = client.images()
    written: dict[str, Path] = {}
    with closing(folder), counting("Fetching masks", len(images), quiet=quiet) as advance:
        for image, name in zip(images, _mask_names(images), strict=True):
            mask = None if image.id in skip else _mask(client, image.id, model, base, format)
            if mask is not None:
                written[image.id] = folder.write(name, mask)
            advance(1)
    return written


def _mask(client: Client, image_id: str, model: ModelChoice, base: str | None, format: MaskFormat) -> bytes | None:
    try:
        return client.mask(image_id, model=model, format=format, base=base)
    except NotFound:
        return None
