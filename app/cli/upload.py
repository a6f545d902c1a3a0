"""`personalseg upload`: many photos, several requests at once; what is there already is not sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.console import EXIT_FAILED, EXIT_FINE, EXIT_INTERRUPTED, AsJson, errors, failures, print_json, stop
from app.cli.progress import counting
from app.client import AsyncClient, ClientError, UploadResult
from app.client.files import batches, is_zip, photo_paths, sha256_of
from app.text import printable

_SHOWN_REJECTED = 20
_BATCH_FILES = 8


@dataclass
class Ledger:
    """What has become of the files so far."""

    there: int = 0
    """Not sent, since the service has these very bytes."""
    results: list[UploadResult] = field(default_factory=list)
    files: int = 0
    """Dealt with; of a zip there are more results."""

    def counts(self) -> dict[str, int]:
        """How many had which end."""
        found = Counter(result.status for result in self.results)
        return {"stored": found["stored"], "duplicate": self.there + found["duplicate"], "rejected": found["rejected"]}

    @property
    def rejected(self) -> list[UploadResult]:
        """The files that the service did not take."""
        return [result for result in self.results if result.status == "rejected"]


def upload(
    folder: Annotated[Path, typer.Argument(help="A folder of photos, nested as you like; or one photo, or a zip of photos.")],
    parallel: Annotated[int, typer.Option(min=1, max=16, help="Requests at the same time.")] = 4,
    again: Annotated[bool, typer.Option("--again", help="Also send what is there: files that the service has lost come back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a folder of photos. May be broken off and repeated: what the service has is not sent again.

    A photo's name in the service is its path below FOLDER, such as `2019/IMG_1.jpg`. Links to photos are followed, links to
    folders are not. Exit code 1 where a file was rejected; the others are stored.

    Examples:

      personalseg upload ~/Pictures/2024

      personalseg upload ~/Pictures --parallel 8 --json > uploaded.json

      personalseg upload --again ~/Pictures  # after `photo_missing`
    """
    if not folder.exists():
        stop(f"{folder} does not exist: give a folder of photos.", code="no_such_folder", as_json=as_json)
    paths = list(photo_paths(folder))
    if not paths:
        stop(
            f"No photo was found in {folder}: give a folder that holds JPEG, PNG, WebP, HEIC or TIFF files.",
            code="no_photos",
            as_json=as_json,
        )
    ledger = Ledger()
    try:
        with failures(as_json), counting("Uploading", len(paths), quiet=as_json) as advance:
            if is_zip(folder):
                anyio.run(_send_zip, folder, ledger, advance)
            else:
                anyio.run(_send_all, paths, folder, parallel, again, ledger, advance)
    except KeyboardInterrupt:
        errors().print(f"Stopped: {ledger.files} of {len(paths)} files were dealt with. The same command goes on from there.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _report(ledger, as_json)
    raise typer.Exit(EXIT_FAILED if ledger.rejected else EXIT_FINE)


async def _send_zip(path: Path, ledger: Ledger, advance: Callable[[int], None]) -> None:
    async with AsyncClient.logged_in() as client:
        ledger.results.extend(await client.upload_zip(path))
    _dealt_with(1, ledger, advance)


async def _send_all(paths: list[Path], root: Path, parallel: int, again: bool, ledger: Ledger, advance: Callable[[int], None]) -> None:
    """Send every file that is not there yet, or `again` all; raises the first ClientError or OSError, after which nothing more is sent."""
    failed: list[ClientError | OSError] = []
    async with AsyncClient.logged_in() as client:
        known: set[str] = set() if again else {image.sha256 async for image in client.iter_images()}
        waiting = batches(paths, _BATCH_FILES)
        async with anyio.create_task_group() as group:

            async def send() -> None:
                try:
                    await _send_batches(client, waiting, root, known, ledger, advance)
                except (ClientError, OSError) as error:  # such as a card that was pulled out
                    failed.append(error)
                    group.cancel_scope.cancel()

            for _ in range(parallel):
                group.start_soon(send)
    if failed:
        raise failed[0]


async def _send_batches(
    client: AsyncClient, waiting: Iterator[list[Path]], root: Path, known: set[str], ledger: Ledger, advance: Callable[[int], None]
) -> None:
    """`root`: the folder that is sent, or the one file."""
    for batch in waiting:
        new = await anyio.to_thread.run_sync(_not_known, batch, known) if known else batch
        ledger.there += len(batch) - len(new)
        _dealt_with(len(batch) - len(new), ledger, advance)
        ledger.results.extend(await client.upload(new, root=root))
        _dealt_with(len(new), ledger, advance)


def _dealt_with(files: int, ledger: Ledger, advance: Callable[[int], None]) -> None:
    ledger.files += files
    advance(files)


def _not_known(paths: list[Path], known: set[str]) -> list[Path]:
    # One that cannot be read is none of them: the upload will say so.
    return [path for path in paths if sha256_of(path) not in known]


def _report(ledger: Ledger, as_json: bool) -> None:
    counts = ledger.counts()
    if as_json:
        print_json({**counts, "files": [_entry(result) for result in ledger.results]})
        return
    typer.echo(f"{counts['stored']} stored, {counts['duplicate']} there already, {counts['rejected']} rejected.")
    if not ledger.rejected:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("rejected", "why", "code"):
        table.add_column(name, overflow="fold")
    for result in ledger.rejected[:_SHOWN_REJECTED]:
        table.add_row(escape(printable(str(result.path))), escape(printable(result.reason or "")), result.code or "")
    console = Console(highlight=False)
    console.print(table)
    if len(ledger.rejected) > _SHOWN_REJECTED:
        console.print(f"… and {len(ledger.rejected) - _SHOWN_REJECTED} more; `--json` lists them all.")


def _entry(result: UploadResult) -> dict[str, Any]:
    return {**asdict(result), "path": str(result.path)}
