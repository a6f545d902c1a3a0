"""`personalseg bases …`: hands over to `python -m models.bases`, since this room knows nothing of the method."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import app
from app.settings import Settings

_NEEDED = ("torch", "torchvision", "safetensors", "jaxtyping", "numpy", "filelock", "platformdirs")


class WorkerExtraMissing(Exception):
    """The method's requirements are not installed here."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(
            f"Base models need what the workers need, and {', '.join(missing)} is not installed: pip install 'personalseg[worker]'."
        )


def run_bases(arguments: list[str], settings: Settings) -> int:
    """Run it with these arguments and, where they name none, the settings' folder and mirror; the exit code.

    Raises WorkerExtraMissing.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise WorkerExtraMissing(missing)
    root = str(Path(app.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    command = [sys.executable, "-m", "models.bases", *arguments, *_from_settings(arguments, settings)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode  # noqa: S603 - ours, no shell


def _from_settings(arguments: list[str], settings: Settings) -> list[str]:
    given: list[str] = []
    if settings.weights_dir is not None and "--dir" not in arguments:
        given += ["--dir", str(settings.weights_dir.absolute())]
    if settings.weights_mirror is not None and arguments[0] == "fetch" and "--mirror" not in arguments:
        given += ["--mirror", settings.weights_mirror]
    return given
