"""A hash of the code that a cell depends on: the modules it imports, followed from file to file, without comments and docstrings."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("models", "benchmarks")


def module_file(name: str, root: Path = ROOT) -> Path | None:
    """The source file of a module of ours; None for all others."""
    if name.split(".")[0] not in ROOMS:
        return None
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def imported(tree: ast.Module, root: Path = ROOT) -> set[str]:
    """The modules of ours that a file imports, wherever in the file. `from a import b` is `a.b` where that is a module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                child = f"{node.module}.{alias.name}"
                found.add(child if module_file(child, root) is not None else node.module)
    return {name for name in found if module_file(name, root) is not None}


def closure(starts: Iterable[str], leave_out: frozenset[str] = frozenset(), root: Path = ROOT) -> tuple[str, ...]:
    """The modules `starts` and all that they import, sorted; modules in `leave_out` are neither taken nor followed."""
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        path = module_file(name, root)
        if name not in found and name not in leave_out and path is not None:
            found.add(name)
            waiting += imported(_parsed(path, path.stat().st_mtime_ns), root)
    return tuple(sorted(found))


def code_hash(modules: Sequence[str], root: Path = ROOT) -> str:
    """64 hex digits over the modules' code; formatting, comments and docstrings do not count."""
    digest = hashlib.sha256()
    for name in modules:
        path = module_file(name, root)
        assert path is not None, f"{name} is not a module of ours"
        digest.update(f"{name}\n{_bare(path, path.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@cache
def _parsed(path: Path, changed_ns: int) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _bare(path: Path, changed_ns: int) -> str:
    """The code of a file without docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
