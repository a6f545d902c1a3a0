"""docs/reference/codes.md names every code that the service gives, and none that it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app import errors
from app.decoding.errors import PhotoRejected

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reference" / "codes.md").read_text()
ELSEWHERE = ("app/cli/", "app/client/", "app/demo/", "app/operations/")
"""The terminal's own codes, which its `--json` documents, and the operators'."""
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.AppError)}
GIVERS = ERRORS - {"QuotaExceeded"} | {PhotoRejected.__name__, "Failure", "LeftOut", "Verdict", "problem", "rejected", "__init__"}
"""What is called with a code as its first or second argument (an exceeded quota's is the name of the quota)."""
CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")
OF_THE_CLIENT = {"unreadable_file"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for room in ("app", "workers", "models"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(ELSEWHERE):
                yield name, ast.parse(path.read_text())


def texts(nodes: Iterator[ast.AST] | list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def given(file: str, tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in GIVERS:
                found |= texts(node.args[:2])
            found |= texts([keyword.value for keyword in node.keywords if keyword.arg == "error_code"])
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"code", "_CODE_OF_STATUS"}:
            found |= texts(ast.walk(node.value))
        elif isinstance(node, ast.Dict):
            found |= texts(
                [v for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant) and k.value == "rejected"]
            )
        elif isinstance(node, ast.Tuple) and file == "workers/failures.py" and len(node.elts) == 3:
            found |= texts(node.elts[1:2])
    return {text for text in found if CODE.fullmatch(text)}


def test_every_code_is_on_the_page_and_no_other() -> None:
    codes = set().union(*(given(file, tree) for file, tree in sources()))
    assert {"gallery_too_small", "decoding_memory", "worker_died", "storage_error", "base_wrong_file", "strayed"} <= codes
    named = set(re.findall(r"`([a-z0-9_]+)`", "\n".join(cell for line in PAGE.splitlines() for cell in line.split("|")[1:3])))
    assert sorted(codes - set(re.findall(r"`([a-z0-9_]+)`", PAGE))) == []
    assert sorted(named - codes - OF_THE_CLIENT) == []
