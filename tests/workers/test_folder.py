"""`python -m workers.folder`, the child of `personalseg personalize`: which settings hold, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from models import PersonalizeConfig
from models.datasets import LabelledFolder
from models.types import Cancelled
from tests.workers.conftest import BASE
from workers import folder
from workers.cache import BaseCache
from workers.folder import Result


class Asked:
    """Takes the place of the work, and notes what it was asked for."""

    config: PersonalizeConfig
    source: LabelledFolder | None

    def __call__(self, base: Any, files: Any, out: Path, config: PersonalizeConfig, decoder: Any, on_step: Any, source: Any) -> Result:
        self.config, self.source = config, source
        return Result(BASE)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The command without its work, its signals and its memory, in an environment that says little."""
    work = Asked()
    monkeypatch.setattr(folder, "personalize_folder", work)
    monkeypatch.setattr(folder, "end_as_by_ctrl_c", lambda: None)
    monkeypatch.setattr(folder, "bound_allocator", lambda: None)
    monkeypatch.setenv("PERSONALSEG_DEFAULT_BASE", BASE)
    monkeypatch.setenv("PERSONALSEG_DEVICE", "cpu")
    return work


def invoke(tmp_path: Path, *arguments: str, sent: str) -> Any:
    """The command with this on its standard input."""
    app = typer.Typer(add_completion=False)
    app.command()(folder.main)
    return CliRunner().invoke(app, ["--out", str(tmp_path), *arguments], input=sent)


def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON that it told."""
    done = invoke(tmp_path, "--json", *arguments, sent=json.dumps([]))
    return done.exit_code, json.load(io.StringIO(done.stdout)) if done.stdout else {}


def test_the_budget_is_that_of_the_settings_unless_one_is_given(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path)[0] == 0 and asked.config.budget_seconds == 240.0
    monkeypatch.setenv("PERSONALSEG_ADAPTATION_BUDGET_SECONDS", "33")
    assert run(tmp_path)[0] == 0 and asked.config.budget_seconds == 33.0
    assert run(tmp_path, "--budget", "44")[0] == 0 and asked.config.budget_seconds == 44.0


@pytest.mark.parametrize("budget", ["inf", "3601"])
def test_a_budget_has_the_bound_of_the_api(asked: Asked, tmp_path: Path, budget: str) -> None:
    code, told = run(tmp_path, "--budget", budget)
    assert (code, told["error"]["code"]) == (2, "budget_too_large")
    assert "at most 3600" in told["error"]["message"]


def test_an_endless_budget_is_no_setting(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADAPTATION_BUDGET_SECONDS", "MAX_ADAPTATION_BUDGET_SECONDS"):
        with monkeypatch.context() as patched:
            patched.setenv(f"PERSONALSEG_{name}", "inf")
            code, told = run(tmp_path)
        assert (code, told["error"]["code"]) == (2, "bad_setting") and f"PERSONALSEG_{name} " in told["error"]["message"]


def test_the_seed_has_the_bound_of_the_api(asked: Asked, tmp_path: Path) -> None:
    assert run(tmp_path, "--seed", str(2**31))[0] == 2
    assert run(tmp_path, "--seed", str(2**31 - 1))[0] == 0 and asked.config.seed == 2**31 - 1


@pytest.mark.parametrize("sent", ["", '[["/photos/a.jpg", "a'])
def test_a_list_that_is_cut_off_ends_it_without_a_word(asked: Asked, tmp_path: Path, sent: str) -> None:
    done = invoke(tmp_path, sent=sent)
    assert (done.exit_code, done.output) == (130, "")
    assert not hasattr(asked, "config")


def test_source_photos_are_handed_on(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path)[0] == 0 and asked.source is None
    for name in ("images/a.jpg", "masks/a.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.setenv("PERSONALSEG_SOURCE_DIR", str(tmp_path))
    assert run(tmp_path)[0] == 0 and asked.source is not None and len(asked.source) == 1


def test_the_method_gets_the_source_photos(tmp_path: Path, bases: BaseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    source = LabelledFolder(tmp_path, {}, {}, ("a",))

    def method(*_: Any, **given: Any) -> None:
        assert given["source"] is source
        raise Cancelled

    monkeypatch.setattr(folder, "personalize", method)
    with pytest.raises(Cancelled):
        given: Any = (bases.get(BASE), [], tmp_path, PersonalizeConfig(), None, None)
        folder.personalize_folder(*given, source)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("DEVICE", "bogus", "no device 'bogus'"),
        ("SOURCE_DIR", "/", "holds no labelled photos"),
        ("DECODING_SECONDS", "abc", "valid number"),
    ],
)
def test_a_setting_that_is_not_usable_is_named(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"PERSONALSEG_{name}", value)
    code, told = run(tmp_path)
    assert (code, told["error"]["code"]) == (2, "bad_setting")
    assert told["error"]["message"].startswith(f"The setting PERSONALSEG_{name} is not usable (") and why in told["error"]["message"]


def test_an_unknown_base_is_told_beside_those_that_there_are(asked: Asked, tmp_path: Path) -> None:
    code, told = run(tmp_path, "--base", "nope")
    assert (code, told["error"]["code"]) == (2, "unknown_base")
    assert "'nope'" in told["error"]["message"] and BASE in told["error"]["message"]
