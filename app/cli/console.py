"""How the command line speaks: exit codes, sentences on the standard error, one JSON object on the standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from app.client.errors import BadAnswer, ClientError, ConnectionFailed, JobFailed, NotAuthorized, ServerFailed, WaitTimedOut
from app.setting_errors import BAD_SETTING, setting_sentence
from app.text import printable

EXIT_FINE = 0
EXIT_FAILED = 1
EXIT_CANNOT = 2
EXIT_UNAVAILABLE = 3
EXIT_INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
WeightsDir = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of fetched weights.", show_default="PERSONALSEG_WEIGHTS_DIR, or the user's cache folder"),
]


def end_with_json(end: SystemExit) -> NoReturn:
    """End so; where the command was refused before it began (an option that is none) and JSON was asked for, with JSON."""
    # A command that has begun, and has answered, ends by `typer.Exit`; what its words are refused by is of typer's own kind.
    refusal = end.__context__
    say = getattr(refusal, "format_message", None)
    if say is not None and not isinstance(refusal, typer.Exit) and "--json" in sys.argv[1:]:
        print_json({"error": {"code": "bad_option", "message": say()}})
    raise end


def errors() -> Console:
    """The standard error; sentences are not broken into lines."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def stop(sentence: str, *, code: str = "bad_request", exit_code: int = EXIT_CANNOT, as_json: bool = False) -> NoReturn:
    """Say why in one sentence and end; with `as_json` also as `{"error": {"code", "message"}}`."""
    if as_json:
        print_json({"error": {"code": code, "message": sentence}})
    errors().print(f"[bold red]personalseg:[/] {escape(sentence)}")
    raise typer.Exit(exit_code)


def say_stopped() -> None:
    """After Ctrl-C, or what is taken like it: a terminal that is lost hears nothing any more."""
    with suppress(OSError):
        errors().print("Stopped; nothing was written.")


def require_folder(folder: Path, as_json: bool) -> None:
    """Make the folder where it is not there yet, before anything is asked for that is to be written into it; stops where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"{folder} cannot be a folder to write into: {error.strerror or error}.", code="bad_folder", as_json=as_json)


def require_somebody_to_ask(as_json: bool) -> None:
    """Before a question that `--yes` answers: with `--json` nobody is asked, so it stops."""
    if as_json:
        stop("Say --yes: with --json nobody is asked.", code="not_confirmed", as_json=True)


@contextmanager
def failures(as_json: bool = False) -> Iterator[None]:
    """What the client raises becomes one sentence and an exit code."""
    try:
        yield
    except ClientError as error:
        stop(sentence_of(error), code=error.code, exit_code=exit_code_of(error), as_json=as_json)
    except BAD_SETTING as error:
        stop(setting_sentence(error), code="bad_setting", as_json=as_json)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        stop(f"{where}{error.strerror or error}.", code="file_error", exit_code=EXIT_FAILED, as_json=as_json)


def sentence_of(error: ClientError) -> str:
    """What went wrong and what to do about it."""
    advice = ""
    if isinstance(error, ConnectionFailed) and error.code == "no_answer":
        advice = " Is it running? `personalseg serve` starts one here."
    elif isinstance(error, NotAuthorized) and error.status == httpx.codes.UNAUTHORIZED:
        advice = " `personalseg login` takes another token."
    return error.detail.strip() + advice


def exit_code_of(error: ClientError) -> int:
    """1 where a job failed, 3 where the service is not there or fails, 2 where it refuses the request."""
    if isinstance(error, JobFailed | WaitTimedOut):
        return EXIT_FAILED
    return EXIT_UNAVAILABLE if isinstance(error, ConnectionFailed | BadAnswer | ServerFailed) else EXIT_CANNOT


def print_json(document: Any) -> None:
    """One JSON document on the standard output."""
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    typer.echo(printable(text))
