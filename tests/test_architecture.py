"""The house's rules, checked on the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# These hold what belongs to no user.
UNSCOPED = {
    "app/catalog/repository.py": {"bases"},
    "app/users/repository.py": {"id_of_external", "page"},
    "app/erasures/repository.py": {"get", "begun", "take_unfinished", "forget_finished"},
    "app/sweeping/repository.py": {"take_turn", "give_turn_back"},
    "app/observability/repository.py": {"jobs_by_state", "waiting", "abandoned"},
    "app/listed_photos/repository.py": {"listing_since", "ended_before"},
    # Of the users that are named, for what looks at all of them.
    "app/quotas/repository.py": {"adaptations_of", "users"},
    # The operator's: all users.
    "app/operations/repository.py": {"users", "user_named", "tokens", "token_named", "find_jobs", "item_counts", "requeue", "blob_keys"},
}


def public_functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_imports_keep_to_their_rooms() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("repository.py")), ids=lambda path: path.parent.name)
def test_no_query_without_the_user(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    functions = [function for function in public_functions(path) if function.name not in UNSCOPED.get(relative, set())]
    for function in functions:
        source = ast.unparse(function)
        arguments = {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
        takes_owned_row = "job" in arguments and function.name == "add_items"
        assert takes_owned_row or ("user_id" in arguments and source.count("user_id") > 1), f"{relative}: {function.name}"


def test_only_repositories_and_a_few_named_modules_query() -> None:
    """A `select` elsewhere is a query that this file does not look at."""
    allowed = {
        "app/tables.py",
        "app/jobs.py",
        "app/turns.py",
        "app/auth.py",
        "app/deps.py",
        "app/tenancy.py",
        "app/job_documents.py",
        "app/job_events.py",
        "app/checks.py",
        "app/ended_tokens.py",
        "app/idempotency.py",
        "app/freshness.py",
        "app/base_choice.py",
        "app/user_lock.py",
        "app/auto_adaptation.py",
        "app/webhooks/outbox.py",
        "app/local/deployment.py",
    }
    for path in (ROOT / "app").rglob("*.py"):
        relative = str(path.relative_to(ROOT))
        if path.name == "repository.py" or relative in allowed:
            continue
        tree = ast.parse(path.read_text())
        from_sqlalchemy = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "sqlalchemy"
            for alias in node.names
        }
        assert not from_sqlalchemy & {"select", "update", "delete", "insert", "text"}, relative
