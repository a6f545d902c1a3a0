"""How the operator's commands open the deployment and speak."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from app.cli.console import EXIT_CANNOT, EXIT_FAILED, EXIT_UNAVAILABLE, print_json, stop
from app.errors import AppError, SchemaTooNew
from app.operations.errors import NoRoom, OperationRefused
from app.setting_errors import BAD_SETTING, setting_sentence

if TYPE_CHECKING:
    from app.operations.service import Operator
    from app.settings import Settings


@contextmanager
def operating(*, as_json: bool, checked: bool = True) -> Iterator[Operator]:
    """The deployment of the settings, opened; what goes wrong becomes one sentence and an exit code.

    `checked`: refuse a database of another revision than this version's, before anything is read or written.
    """
    from app.db import Database
    from app.log import configure_logging
    from app.operations.service import Operator
    from app.storage import open_storage

    with failures(as_json=as_json):
        settings = make_settings()
        _require_database(settings, as_json)
        configure_logging("WARNING", as_json=settings.log_json)
        operator = Operator(settings, Database(settings.database_url), open_storage(settings))
        try:
            if checked:
                _require_schema(operator, as_json)
            yield operator
        finally:
            operator.database.close()


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """What goes wrong becomes one sentence and an exit code."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except BAD_SETTING as error:
        stop(setting_sentence(error), code="bad_setting", as_json=as_json)
    except AppError as error:
        stop(error.detail, code=error.code, as_json=as_json)
    except NoRoom as error:
        stop(str(error), code=error.code, exit_code=EXIT_FAILED, as_json=as_json)
    except OperationRefused as error:
        stop(str(error), code=error.code, as_json=as_json)
    except SchemaTooNew as error:
        stop(str(error), code="schema_too_new", as_json=as_json)
    except (SQLAlchemyError, sqlite3.Error) as error:
        from app.db import database_sentence

        stop(database_sentence(error), code="database_error", exit_code=EXIT_UNAVAILABLE, as_json=as_json)
    except OSError as error:
        stop(f"{error.filename or 'A file'}: {error.strerror or error}.", code="file_error", exit_code=EXIT_FAILED, as_json=as_json)


def make_settings() -> Settings:
    """The settings of the environment, and where `personalseg serve` has its Redis; raises ValidationError."""
    from app.settings import REDIS_FILE, Settings

    settings = Settings()
    left = settings.data_dir / REDIS_FILE
    if not left.is_file():
        return settings
    url = left.read_text("utf-8").strip()
    # `serve` brings its own Redis, whatever the setting says; a file that a killed one left names a socket that is gone.
    was_killed = "redis_url" in settings.model_fields_set and not Path(urlsplit(url).path).exists()
    return settings if was_killed else Settings(redis_url=url)


def show(document: dict[str, Any], *, as_json: bool) -> None:
    """One document: JSON, or a line a field."""
    if as_json:
        print_json(document)
        return
    width = max(len(name) for name in document)
    for name, value in document.items():
        typer.echo(f"{name.ljust(width)}  {_text(value)}")


def show_list(documents: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Many documents: `{"items": […]}`, or a table of these columns."""
    if as_json:
        print_json({"items": list(documents)})
        return
    if not documents:
        typer.echo("Nothing found.")
        return
    lines = [[name.replace("_", " ") for name in columns], *([_text(document[name]) for name in columns] for document in documents)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        # Never cut: an id that is copied from here must be whole.
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return "; ".join(_text(entry) for entry in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(entry)}" for name, entry in value.items()) or "–"
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _require_database(settings: Settings, as_json: bool) -> None:
    """Stop before SQLite makes an empty database of a folder that is not the service's."""
    from app.operations.backup import sqlite_path
    from app.operations.errors import NeedsPgDump

    try:
        path = sqlite_path(settings.database_url)
    except NeedsPgDump:
        return
    if not path.exists():
        sentence = f"There is no database at {path.absolute()}: run this where the service's settings are, or set PERSONALSEG_DATA_DIR."
        stop(sentence, code="no_database", as_json=as_json)


def _require_schema(operator: Operator, as_json: bool) -> None:
    database = operator.foundations.ask(["database"])["database"]
    if not database.ok:
        stop(f"The database {database.detail}.", code="database_not_ready", exit_code=EXIT_CANNOT, as_json=as_json)
