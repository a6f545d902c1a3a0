"""`personalseg personalize`: the method alone on a folder, without a service."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from app.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, AsJson, say_stopped, stop
from app.demo.errors import DemoError
from app.demo.folder import find_photos, fresh_folder, mask_names
from app.interrupts import end_as_by_ctrl_c
from app.method_process import WorkerExtraMissing, run_module


class _NothingWritten(Exception):
    """The child has said why; what it wrote is thrown away."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


def personalize(
    folder: Annotated[Path, typer.Argument(help="A folder of photos, nested as you like.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where masks, overlays, the model and report.json go.")] = Path("personalized"),
    budget_seconds: Annotated[
        float | None,
        typer.Option("--budget", min=1, help="Seconds that the adaptation may take.", show_default="PERSONALSEG_ADAPTATION_BUDGET_SECONDS"),
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base model, by name.", show_default="PERSONALSEG_DEFAULT_BASE")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the random numbers.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Adapt to a folder and segment it, here and now: no server, no database, no account.

    OUT holds masks/, confidence/ and overlays/ with one PNG a photo, report.json, and model.safetensors where the guard
    let a personal model serve. OUT appears when all is done; an OUT of an earlier run is replaced, any other is left alone,
    as is one with a file that was changed since. Links to photos are followed, links to folders are not.
    The PERSONALSEG_… settings of a worker hold here, too: with PERSONALSEG_SOURCE_DIR it first aligns with source photos.

    Examples:

      personalseg personalize ~/Pictures/cat -o cat-masks

      personalseg personalize photos --base espnetv2_tiny --budget 30 --json
    """
    end_as_by_ctrl_c()
    try:
        listed = _listed(folder, out)
        with fresh_folder(out) as working:
            arguments = ["--out", str(working), "--seed", str(seed)]
            arguments += [] if base is None else ["--base", base]
            arguments += [] if budget_seconds is None else ["--budget", str(budget_seconds)]
            code = run_module("workers.folder", [*arguments, *(["--json"] if as_json else [])], standard_input=listed)
            if not _is_whole(working / "report.json"):
                raise _NothingWritten(code or EXIT_FAILED)
    except DemoError as error:
        stop(str(error), code="bad_folder", as_json=as_json)
    except WorkerExtraMissing as error:
        stop(str(error), code="worker_extra_missing", as_json=as_json)
    except _NothingWritten as ended:
        raise typer.Exit(ended.exit_code) from None
    except KeyboardInterrupt:
        say_stopped()
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not as_json:
        typer.echo(f"The results are in {out}.")
    raise typer.Exit(code)


def _is_whole(report: Path) -> bool:
    """Whether the child came to its end: the report is the last that it writes."""
    try:
        json.loads(report.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _listed(folder: Path, out: Path) -> bytes:
    """Each photo and the name of its masks, as the child reads it."""
    relative = {path: PurePosixPath(path.relative_to(folder).as_posix()) for path in find_photos(folder, leave_out=out)}
    names = mask_names(list(relative.values()))
    return json.dumps([[str(path.absolute()), str(names[relative[path]])] for path in relative]).encode()
