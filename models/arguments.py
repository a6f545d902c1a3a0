"""What the commands of `python -m models.…` say of an argument that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from models.bases.errors import BaseNotAvailable


@contextmanager
def refused_arguments() -> Iterator[None]:
    """Around the opening of what the arguments name: an unknown base, weights or photos that are not there leave as typer.BadParameter."""
    try:
        yield
    except KeyError as error:  # `find_base`, whose sentence is its argument
        raise typer.BadParameter(str(error.args[0])) from error
    except (BaseNotAvailable, FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
