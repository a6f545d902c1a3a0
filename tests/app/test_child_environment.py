import os
from pathlib import Path

import pytest

from app import method_process
from app.child_environment import SPIN_COUNT, SPINS, WAIT_POLICY, python_path, waiting_threads


def test_threads_spin_a_little() -> None:
    assert waiting_threads({"PATH": "/bin"}) == {SPIN_COUNT: SPINS}


@pytest.mark.parametrize(("name", "value"), [(WAIT_POLICY, "PASSIVE"), (WAIT_POLICY, "ACTIVE"), (SPIN_COUNT, "0")])
def test_what_the_operator_says_holds(name: str, value: str) -> None:
    assert waiting_threads({name: value}) == {}


def test_a_child_that_computes_has_it_before_torch_is_loaded(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name in (SPIN_COUNT, WAIT_POLICY):
        monkeypatch.delenv(name, raising=False)
    # `timeit` is a module that runs what it is given, in a process made as those of `personalseg personalize` and `bases` are.
    shown = f"import os; print(os.environ['{SPIN_COUNT}'])"
    assert method_process.run_module("timeit", ["-n", "1", "-r", "1", shown]) == 0
    assert capfd.readouterr().out.splitlines()[0] == SPINS
    assert SPIN_COUNT not in os.environ


def test_the_image_says_the_same() -> None:
    dockerfile = Path(__file__).parents[2] / "Dockerfile"
    assert f"ENV {SPIN_COUNT}={SPINS}" in dockerfile.read_text("utf-8").splitlines()


def test_a_child_finds_this_package_first(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/a", "/b"]))
    assert python_path().split(os.pathsep) == [root, "/a", "/b"]
    monkeypatch.delenv("PYTHONPATH")
    assert python_path() == root
