"""Nothing that is read can run code: no pickle and no relative of it, in any source of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("app", "models", "workers", "migrations", "benchmarks", "tools")
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle5", "shelve", "jsonpickle", "yaml"}
FORBIDDEN_CALLS = {"read_pickle", "to_pickle", "eval", "exec"}
# Published checkpoints of other people are read once, with `weights_only`, after their hash was checked, and kept as
# safetensors; training keeps its own state. Neither ever reads what came in through the service.
TORCH_FILES = {"models/bases/fetch.py", "models/train_base.py"}
# The class of an error that `torch.load(weights_only=True)` raises.
ERRORS_ONLY = {"models/bases/fetch.py": {"UnpicklingError"}}


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def offences(relative: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"imports {alias.name}" for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            names = {alias.name for alias in node.names} - ERRORS_ONLY.get(relative, set())
            yield from (f"imports {node.module}.{name}" for name in sorted(names))
        elif isinstance(node, ast.Call):
            yield from call_offences(relative, node)


def call_offences(relative: str, call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    options = {option.arg: option.value for option in call.keywords}
    if owner == "torch" and name in ("load", "save"):
        if relative not in TORCH_FILES:
            yield f"torch.{name}"
        elif name == "load" and not is_true(options.get("weights_only")):
            yield "torch.load without weights_only=True"
    if "allow_pickle" in options and not is_false(options["allow_pickle"]):
        yield "allow_pickle"
    if name in FORBIDDEN_CALLS and (name.endswith("pickle") or isinstance(call.func, ast.Name)):
        yield name
    if owner == "multiprocessing" and name in ("Process", "Pool", "Queue", "Pipe"):
        yield f"multiprocessing.{name} (sends pickles)"


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_reads_what_could_run_code(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    found = list(offences(relative, ast.parse(path.read_text())))
    assert not found, f"{relative}: {found}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch; torch.load('x')",
        "torch.load('x', weights_only=False)",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "pandas.read_pickle('x')",
        "eval('1')",
        "import yaml",
        "torch.save(x, 'y')",
    ],
)
def test_the_lint_finds_it(source: str) -> None:
    assert list(offences("workers/somewhere.py", ast.parse(source)))


def test_a_checkpoint_of_others_is_read_with_weights_only() -> None:
    assert list(offences("models/bases/fetch.py", ast.parse("torch.load(path)")))
    assert not list(offences("models/bases/fetch.py", ast.parse("torch.load(path, weights_only=True)")))
