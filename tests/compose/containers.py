"""`docker-compose.yml` under a project name of the walk's own, driven by whichever compose there is."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "personalseg-walk"
_LONGEST_COMMAND_SECONDS = 3600.0


class WalkFailed(Exception):
    """Something was not as it must be."""


def compose_command() -> list[str]:
    """`docker compose` (2) or `docker-compose` (1.29); raises WalkFailed."""
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if found := shutil.which("docker-compose"):
        return [found]
    raise WalkFailed("there is neither `docker compose` nor docker-compose")


@dataclass
class Composition:
    """The containers of the walk."""

    port: int

    def compose(self, *arguments: str) -> str:
        """A compose command's output; raises WalkFailed."""
        command = [*compose_command(), "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml"), *arguments]
        return run(command, PERSONALSEG_PORT=str(self.port))

    def follow(self, script: str, folder: Path) -> None:
        """Run a shell script that says `docker compose`, in this folder; raises WalkFailed."""
        ours = shlex.join([*compose_command(), "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml")])
        run(["bash", "-euo", "pipefail", "-c", script.replace("docker compose", ours)], folder, PERSONALSEG_PORT=str(self.port))

    def ids(self, service: str, *, running: bool = True) -> list[str]:
        """The containers of a service."""
        labels = [f"--filter=label=com.docker.compose.project={PROJECT}", f"--filter=label=com.docker.compose.service={service}"]
        return run(["docker", "ps", "--quiet", "--no-trunc", *([] if running else ["--all"]), *labels]).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker knows of a container."""
        (found,) = json.loads(run(["docker", "inspect", container]))
        assert isinstance(found, dict)
        return found

    def execute(self, service: str, *command: str) -> str:
        """The output of a command in the first container of a service."""
        return run(["docker", "exec", self.ids(service)[0], *command]).strip()

    def await_healthy(self, service: str, count: int, seconds: float = 180.0) -> None:
        """Wait until so many containers of the service are healthy."""

        def are_healthy() -> bool:
            states = [self.inspect(found)["State"] for found in self.ids(service)]
            return len(states) == count and all(state["Health"]["Status"] == "healthy" for state in states)

        within(seconds, are_healthy, f"{count} healthy containers of {service}")


def run(command: list[str], folder: Path = ROOT, **environment: str) -> str:
    """The command's output; raises WalkFailed with the end of what it said."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=_LONGEST_COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise WalkFailed(f"{' '.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def within(seconds: float, is_so: Callable[[], bool], what: str) -> float:
    """Wait for it; returns the seconds that it took, raises WalkFailed."""
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > seconds:
            raise WalkFailed(f"not within {seconds:g} s: {what}")
        time.sleep(0.25)
    return time.monotonic() - started


def require(is_so: bool, what: str) -> None:
    """Raise WalkFailed unless it is so; unlike `assert` also under `python -O`."""
    if not is_so:
        raise WalkFailed(what)
