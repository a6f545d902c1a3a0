"""`personalseg bases …`: hands over to `python -m models.bases`."""

from __future__ import annotations

from app.method_process import run_module
from app.settings import Settings


def run_bases(arguments: list[str], settings: Settings) -> int:
    """Run it with these arguments and, where they name none, the settings' folder and mirror; the exit code.

    Raises WorkerExtraMissing.
    """
    return run_module("models.bases", [*arguments, *_from_settings(arguments, settings)])


def _from_settings(arguments: list[str], settings: Settings) -> list[str]:
    given: list[str] = []
    if settings.weights_dir is not None and "--dir" not in arguments:
        given += ["--dir", str(settings.weights_dir.absolute())]
    if settings.weights_mirror is not None and arguments[0] == "fetch" and "--mirror" not in arguments:
        given += ["--mirror", settings.weights_mirror]
    return given
