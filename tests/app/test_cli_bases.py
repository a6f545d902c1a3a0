"""`personalseg bases …`: a real child process against a real (local) server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import bases, method_process
from app.bases import run_bases
from app.method_process import WorkerExtraMissing
from app.settings import Settings
from tests.app.test_cli import personalseg

LRASPP = "lraspp_mobilenet_v3_large"


def test_list_as_json(tmp_path: Path) -> None:
    done = personalseg("bases", "list", "--json", PERSONALSEG_WEIGHTS_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = {base["name"]: base for base in json.loads(done.stdout)["bases"]}
    assert found["espnetv2"]["is_default"] and found["espnetv2"]["weights"] == "shipped"
    assert found[LRASPP]["context"] == "non-parametric" and "first use" in found[LRASPP]["weights"]
    assert found[LRASPP]["scores"]["torchvision_coco_val2017_voc_labels_miou"] == 57.9
    assert found["pspnet_resnet50"]["weights"] == "to be trained"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code", "says"),
    [
        (("fetch", "nope"), 2, "unknown_base", "No base named 'nope'"),
        (("fetch", "pspnet_resnet50"), 1, "base_not_trained", "train it with"),
        (("fetch", LRASPP, "--mirror", "ftp://127.0.0.1"), 1, "base_not_fetched", "begins with http"),
        (("fetch", LRASPP, "--mirror", "http://mirror:none"), 1, "base_not_fetched", "Correct the mirror"),
        (("install", "espnetv2", "pyproject.toml"), 2, "base_has_weights", "weights of its own"),
        (("install", "pspnet_resnet50", "pyproject.toml"), 1, "model_file_invalid", "does not fit"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: tuple[str, ...], exit_code: int, code: str, says: str, tmp_path: Path) -> None:
    done = personalseg("bases", *arguments, "--json", "--dir", str(tmp_path))
    assert done.returncode == exit_code, done.stderr
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["error"]["code"] == code
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_the_settings_say_where_and_from_whom(tmp_path: Path) -> None:
    settings = Settings(weights_dir=tmp_path, weights_mirror="http://mirror/models")
    assert bases._from_settings(["fetch", LRASPP], settings) == ["--dir", str(tmp_path), "--mirror", "http://mirror/models"]
    assert bases._from_settings(["fetch", LRASPP, "--mirror", "http://other", "--dir", "here"], settings) == []
    assert bases._from_settings(["list"], settings) == ["--dir", str(tmp_path)]


def test_without_the_worker_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_process, "_NEEDED", ("json", "no_such_package_of_the_worker"))
    with pytest.raises(WorkerExtraMissing, match=r"no_such_package_of_the_worker is not installed: pip install 'personalseg\[worker\]'"):
        run_bases(["list"], Settings())
