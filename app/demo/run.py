"""The demonstration's main job, purely through the REST API: upload, adapt, segment twice, fetch, report.

It needs a running deployment and a service token; `personalseg demo` starts the embedded one for it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from app.client import BaseInfo, Client, ClientError, Job, UploadResult, User
from app.demo import pictures
from app.demo.album import write_album
from app.demo.changes import pictured_changes
from app.demo.folder import find_photos, fresh_folder, mask_names, require_replaceable, sums_below
from app.demo.parts import Pictures
from app.demo.report import write_report
from app.demo.result import ClassInfo, DemoResult, Photo, Rejected, Stage, Verdict
from app.demo.view import View
from app.text import printable
from app.whole_file import naming

ModelName = Literal["personal", "base"]

EXIT_FINE = 0
EXIT_FAILED = 1
SERVICE_RETRIES = 10
"""With the client's pauses: nearly a minute."""
SAMPLE_ALBUM = "the sample album"
SAMPLE_BUDGET_SECONDS = 100.0
"""Bound of the adaptation to the sample album, so that the whole demo stays under three minutes on two cores."""


@dataclass(frozen=True)
class Options:
    """What a person may choose; None leaves it to the service."""

    budget_seconds: float | None = None
    base: str | None = None
    seed: int | None = None


@dataclass
class _Ledger:
    """What has been learnt so far; the run writes, the result reads."""

    steps: list[Stage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """Image id → why it could not be segmented."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a part of the run."""
        started = time.monotonic()
        yield
        self.steps.append(Stage(name, round(time.monotonic() - started, 3)))


@dataclass(frozen=True)
class _Sent:
    """A photo that the service has."""

    path: Path
    relative: PurePosixPath
    image_id: str


def check_request(photos: Path | None, out: Path) -> None:
    """Find out before anything is started whether the demo can be done.

    Raises:
        DemoError: no photos, or an `out` that must not be replaced.
    """
    require_replaceable(out.resolve())
    if photos is not None:
        find_photos(photos, leave_out=out)


def run_demo(
    photos: Path | None,
    out: Path,
    *,
    base_url: str,
    service_token: str,
    options: Options | None = None,
    console: Console | None = None,
    on_user: Callable[[User], None] = lambda _user: None,
    on_result: Callable[[DemoResult], None] = lambda _result: None,
) -> int:
    """Do the main job on a folder of photos (None: the sample album) and put masks, overlays and the report in `out`.

    `on_user` is told of the user made for it, whose token shows the result in the page while the deployment runs;
    `on_result` of what came of it.

    Returns:
        The exit code: 0 when every step was done (keeping the base is an answer, not a failure), else 1.

    Raises:
        DemoError: the folders are not fit for it.
    """
    console = console or Console()
    options = options or Options()
    if photos is None and options.budget_seconds is None:
        options = replace(options, budget_seconds=SAMPLE_BUDGET_SECONDS)
    try:
        with (
            _photo_folder(photos) as folder,
            fresh_folder(out) as working,
            _service(base_url, service_token) as service,
        ):
            paths = find_photos(folder, leave_out=out)
            source = SAMPLE_ALBUM if photos is None else photos.resolve().name
            user = service.create_user()
            on_user(user)
            result = _perform(service, user, folder, paths, working, source, options, View(console))
    except ClientError as error:
        console.print(f"[bold red]The demo stopped:[/] {escape(error.detail)}", highlight=False)
        return EXIT_FAILED
    except OSError as error:
        console.print(f"[bold red]The demo stopped:[/] {escape(str(error))}", highlight=False)
        return EXIT_FAILED
    View(console).summary(result, out)
    on_result(result)
    return EXIT_FAILED if result.problems or not result.photos else EXIT_FINE


def _service(base_url: str, token: str) -> Client:
    """A patient client: a deployment that has just started has no worker yet (503)."""
    return Client(base_url, token, retries=SERVICE_RETRIES)


@contextmanager
def _photo_folder(photos: Path | None) -> Iterator[Path]:
    if photos is not None:
        yield photos
        return
    with tempfile.TemporaryDirectory(prefix="personalseg-album-") as folder:
        write_album(Path(folder))
        yield Path(folder)


def _perform(
    service: Client, user: User, folder: Path, paths: Sequence[Path], working: Path, source: str, options: Options, view: View
) -> DemoResult:
    """The whole job; writes into `working`."""
    ledger = _Ledger()
    base = _chosen_base(service, options.base)
    with service.for_user(user) as client:
        with ledger.step("upload"):
            sent = _upload(client, folder, paths, ledger, view)
        with ledger.step("adaptation"):
            adaptation = _adapt(client, options, ledger, view) if sent else None
        verdict = _verdict(adaptation)
        accepted = verdict is not None and verdict.accepted
        models: tuple[ModelName, ...] = ("base", "personal") if accepted else ("base",)
        for model in models if sent else ():
            with ledger.step(f"segmentation_{model}"):
                _segment(client, model, options.base, ledger, view)
        with ledger.step("masks"):
            found = _fetch_all(client, sent, base, _groups(client, adaptation), accepted, working, ledger, view)
    with ledger.step("report"):
        report = adaptation.report or {} if adaptation is not None else {}
        result = DemoResult(
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=_version(),
            source=source,
            base=base.title or base.name,
            verdict=verdict,
            photos=found,
            rejected=ledger.rejected,
            classes=_classes(base),
            steps=ledger.steps,
            stages=_stages(adaptation, report),
            problems=ledger.problems,
            adaptation=report,
        )
        _write(result, folder, working, view)
    result = replace(result, sha256=sums_below(working))
    with naming(working.parent):
        (working / "report.json").write_text(printable(json.dumps(result.as_json(), indent=2, ensure_ascii=False)) + "\n", "utf-8")
    return result


# Steps ----------------------------------------------------------------------------------------------------------------


def _upload(client: Client, folder: Path, paths: Sequence[Path], ledger: _Ledger, view: View) -> list[_Sent]:
    with view.counting("Uploading", len(paths)) as advance:

        def note(result: UploadResult) -> None:
            advance()

        results = client.upload(paths, on_result=note, root=folder)
    sent = []
    for result in results:
        relative = PurePosixPath(result.path.relative_to(folder).as_posix())
        if result.image_id is not None and result.status in {"stored", "duplicate"}:
            sent.append(_Sent(result.path, relative, result.image_id))
        else:
            reason = result.reason or "The service rejected it."
            ledger.rejected.append(Rejected(printable(str(relative)), result.code or "rejected", reason))
    if not sent:
        ledger.problems.append("The service took none of the photos.")
    return sent


def _adapt(client: Client, options: Options, ledger: _Ledger, view: View) -> Job | None:
    """The ended adaptation; None when it could not be started or did not end well, which is noted."""
    try:
        with view.job("Adapting") as follow:
            job = client.adapt(budget_seconds=options.budget_seconds, base=options.base, seed=options.seed)
            return client.wait(job, follow).require_success()
    except ClientError as error:
        ledger.problems.append(f"The adaptation failed: {error.detail}")
        return None


def _segment(client: Client, model: ModelName, base: str | None, ledger: _Ledger, view: View) -> None:
    """Segment the whole gallery; what could not be segmented is noted by image id."""
    try:
        with view.job(f"Segmenting ({model})") as follow:
            job = client.segment("all", model=model, base=base, adapt="never")
            job = client.wait(job, follow)
            ledger.reasons.update({item.image_id: item.error_reason for item in job.items if item.error_reason})
            job.require_success()
    except ClientError as error:
        ledger.problems.append(f"Segmenting with the {model} model failed: {error.detail}")


def _fetch_all(
    client: Client,
    sent: Sequence[_Sent],
    base: BaseInfo,
    groups: Mapping[str, int],
    accepted: bool,
    working: Path,
    ledger: _Ledger,
    view: View,
) -> list[Photo]:
    names = mask_names([entry.relative for entry in sent])
    found = []
    with view.counting("Fetching masks", len(sent)) as advance:
        for entry in sent:
            try:
                found.append(_fetch(client, entry, names[entry.relative], base, groups.get(entry.image_id), accepted, working))
            except ClientError as error:
                reason = ledger.reasons.get(entry.image_id, error.detail)
                ledger.rejected.append(Rejected(printable(str(entry.relative)), error.code, reason))
            advance()
    if len(found) < len(sent):
        ledger.problems.append(f"{len(sent) - len(found)} of {len(sent)} photos have no mask.")
    return found


def _fetch(client: Client, entry: _Sent, name: PurePosixPath, base: BaseInfo, group: int | None, accepted: bool, working: Path) -> Photo:
    """Fetch a photo's masks and overlay, and measure them; a base that was kept makes the personal mask too."""
    chosen: ModelName = "personal" if accepted else "base"
    base_path = _save(working, PurePosixPath("masks/base") / name, client.mask(entry.image_id, model="base"))
    personal_path = _save(working, PurePosixPath("masks/personal") / name, client.mask(entry.image_id, model=chosen))
    overlay_path = _save(working, PurePosixPath("overlays") / name, client.overlay(entry.image_id, model=chosen))
    before, after = pictures.open_labels(working / base_path), pictures.open_labels(working / personal_path)
    classes = _classes(base)
    return Photo(
        path=str(entry.relative),
        image_id=entry.image_id,
        width=after.width,
        height=after.height,
        group=group,
        personal_mask=str(personal_path),
        base_mask=str(base_path),
        overlay=str(overlay_path),
        changed_share=pictures.changed_share(before, after),
        personal_classes=pictures.class_shares(after, classes),
        base_classes=pictures.class_shares(before, classes),
    )


def _save(working: Path, relative: PurePosixPath, content: bytes) -> PurePosixPath:
    path = working / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(working.parent):  # `working` has its name for the time of the run
        path.write_bytes(content)
    return relative


# What the service said ------------------------------------------------------------------------------------------------


def _chosen_base(service: Client, name: str | None) -> BaseInfo:
    """The base that the masks will come from.

    Raises:
        ClientError: the deployment has none, or none of that name.
    """
    bases = service.bases()
    wanted = [base for base in bases if (base.name == name if name is not None else base.is_default)] or (bases if name is None else [])
    if not wanted:
        known = ", ".join(base.name for base in bases) or "none"
        raise ClientError("unknown_base", "Unknown base", f"The deployment offers no base {name or ''!r}; it has: {known}.")
    return wanted[0]


def _classes(base: BaseInfo) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(entry.id, entry.name, entry.color) for entry in base.classes)


def _verdict(adaptation: Job | None) -> Verdict | None:
    """The guard's decision as the job's report tells it; the job's own status where the report is silent."""
    if adaptation is None:
        return None
    told = (adaptation.report or {}).get("verdict")
    told = told if isinstance(told, dict) else {}
    accepted = adaptation.status == "succeeded"
    fallback = "The personal model is in use." if accepted else (adaptation.error_reason or "The base model was kept.")
    figures = told.get("figures")
    return Verdict(
        accepted=accepted,
        code=str(told.get("code") or adaptation.status),
        sentence=str(told.get("sentence") or fallback),
        figures={str(name): value for name, value in figures.items()} if isinstance(figures, dict) else {},
    )


def _groups(client: Client, adaptation: Job | None) -> dict[str, int]:
    """Image id → group index: from the report, else from the gallery."""
    told = (adaptation.report or {}).get("groups") if adaptation is not None else None
    if isinstance(told, list) and told:
        return dict(_group_members(told))
    if adaptation is None:
        return {}
    return {image.id: image.group_index for image in client.iter_images() if image.group_index is not None}


def _group_members(groups: Sequence[Any]) -> Iterator[tuple[str, int]]:
    for position, group in enumerate(groups):
        if isinstance(group, dict):
            for image_id in group.get("photos") or ():
                yield str(image_id), int(group.get("index", position))


def _stages(adaptation: Job | None, report: Mapping[str, Any]) -> list[Stage]:
    """The adaptation's stages: as the method measured them, else as the job's timeline saw them."""
    told = report.get("stages")
    if isinstance(told, list) and told:
        return [Stage(str(entry.get("name", "?")), float(entry.get("seconds") or 0)) for entry in told if isinstance(entry, dict)]
    spans = adaptation.timeline if adaptation is not None else ()
    return [Stage(span.stage, _seconds_between(span.started_at, span.finished_at)) for span in spans]


def _seconds_between(start: str | None, end: str | None) -> float:
    if start is None or end is None:
        return 0.0
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def _version() -> str:
    try:
        return version("personalseg")
    except PackageNotFoundError:
        return "unknown"


# The report -----------------------------------------------------------------------------------------------------------


def _write(result: DemoResult, folder: Path, working: Path, view: View) -> None:
    """Write report.html; its pictures are made from the person's own files and the masks just fetched."""

    def original(photo: Photo, longest_pixels: int) -> str | None:
        try:
            return pictures.data_uri(pictures.open_thumbnail(folder / photo.path, longest_pixels))
        except OSError:
            return None

    def triple(photo: Photo, longest_pixels: int) -> Pictures | None:
        advance()
        try:
            image = pictures.open_thumbnail(folder / photo.path, longest_pixels)
        except OSError:
            return None
        before, after = pictures.open_labels(working / photo.base_mask), pictures.open_labels(working / photo.personal_mask)
        shown = (image, *(pictures.lay_over(image, labels, result.classes) for labels in (before, after)))
        uris = [pictures.data_uri(picture) for picture in (*shown, pictures.difference(image, before, after))]
        return Pictures(uris[0], uris[1], uris[2], uris[3], image.width, image.height)

    total = len(result.photos) + len(pictured_changes(result))
    counting = view.counting("Writing the report", total) if result.photos else nullcontext(lambda: None)
    with counting as advance, (working / "report.html").open("w", encoding="utf-8", errors="replace") as file:
        write_report(file, result, triple, original)
