import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import method_process
from app.child_environment import SPIN_COUNT, SPINS, WAIT_POLICY, child_environment, python_path, waiting_threads
from tests.interrupts import heed_interrupts


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


@pytest.mark.parametrize(
    "importing",
    ["time.sleep(60)", "try:\n    time.sleep(60)\nexcept BaseException:\n    sys.exit('swallowed')"],
    ids=["plain", "in code that swallows it"],
)
def test_ctrl_c_while_a_child_imports_ends_it_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, importing: str) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "heavy.py").write_text(f"import sys, time\nprint('importing', flush=True)\n{importing}\n")
    command = [sys.executable, "-m", "app.method_child", "heavy"]
    child = subprocess.Popen(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    assert child.stdout is not None and child.stdout.readline() == "importing\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "")


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("3",), 3)])
def test_a_child_has_its_arguments_and_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "ends.py").write_text("import sys\nassert __name__ == '__main__'\nsys.exit(int((*sys.argv[1:], '0')[0]))\n")
    assert method_process.run_module("ends", arguments) == code
