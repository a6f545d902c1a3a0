"""`python -m tools.sync_client [FOLDER]`: writes `app/client/_sync/` (or FOLDER) from `app/client/_async/`.

The calls are written once, awaited; unasync takes the `await`s out. A test fails while the two differ.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "app" / "client" / "_async"
TARGET = ROOT / "app" / "client" / "_sync"

_NAMES = {
    "_async": "_sync",
    **{
        f"Async{name}": name
        for name in ("BaseTransport", "Client", "Connection", "Iterator", "Jobs", "People", "Photos", "Results", "Webhooks")
    },
    "aconnect_sse": "connect_sse",
    "aiter_sse": "iter_sse",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "aclose": "close",
    "anyio": "time",
}
_PHRASES = {
    "Callable[[float], Awaitable[None]]": "Callable[[float], None]",
    "Callable[[], Awaitable[httpx.Response]]": "Callable[[], httpx.Response]",
    ", Awaitable, Callable": ", Callable",
    "The client's calls, written once, for asyncio. `make client` writes `app/client/_sync/` from this folder.": (
        "Made from `app/client/_async/` by `make client`: change it there."
    ),
}
"""What is more than one name; replaced before."""


def generate(target: Path) -> None:
    """Write the package of the synchronous client into this folder, formatted."""
    with tempfile.TemporaryDirectory() as folder:
        awaited, plain = Path(folder, "_async"), Path(folder, "_sync")
        awaited.mkdir()
        for path in sorted(SOURCE.glob("*.py")):
            text = path.read_text("utf-8")
            for before, after in _PHRASES.items():
                text = text.replace(before, after)
            (awaited / path.name).write_text(text, "utf-8")
        rule = unasync.Rule(f"{awaited}/", f"{plain}/", additional_replacements=_NAMES)
        unasync.unasync_files([str(path) for path in awaited.glob("*.py")], [rule])
        target.mkdir(parents=True, exist_ok=True)
        for path in plain.glob("*.py"):
            (target / path.name).write_text(_tidy(path.read_text("utf-8"), TARGET / path.name), "utf-8")


def _tidy(text: str, name: Path) -> str:
    """Sorted, simplified and formatted as the file of this name would be."""
    for command in (["check", "--fix", "--unsafe-fixes", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(name), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout  # noqa: S603 - ours, no shell
    return text


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
