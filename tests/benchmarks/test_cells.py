import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import cell as cell_module
from benchmarks import quality
from benchmarks.album import album_digest
from benchmarks.cell import run_cell
from benchmarks.cells import CellSpec, CellStore, cell_key
from benchmarks.code_hash import closure, code_hash
from benchmarks.pss import open_user
from benchmarks.recipes import GalleryRecipe
from benchmarks.runner import Failure, Runner
from benchmarks.scoring import score
from benchmarks.survey.methods import METHODS
from models.bases.registry import Base, load_base
from tests.benchmarks.conftest import SIDE, make_pss, write_pair

INFO = load_base("espnetv2_tiny").info
RECIPE = GalleryRecipe("0001TP", photos=3)


def spec_of(method: str = "adabn", **given: Any) -> CellSpec:
    return CellSpec(method, RECIPE, base="espnetv2_tiny", budget_seconds=60.0, epochs=1, **given)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for index in range(4):
        write_pair(root / "camvid" / "0001TP", f"f{index}", index)
    return root


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells at a tiny side."""

    def load(name: str, *, device: str = "cpu") -> Base:
        base = load_base(name, device=device)
        return replace(base, info=replace(base.info, side=SIDE))

    monkeypatch.setattr(cell_module, "load_base", load)


def test_a_cell_is_readable(data: Path, tmp_path: Path, small: None) -> None:
    path = run_cell(spec_of(), data, None, CellStore(tmp_path))
    cell = json.loads(path.read_text())
    assert path.name.startswith("0001TP-untouched-3-report-s0--adabn--0--")
    assert (cell["method"], cell["gallery"], cell["seed"], cell["photos"]) == ("adabn", RECIPE.name, 0, 3)
    assert 0 <= cell["miou"] <= 100
    assert set(cell["class_iou"]) == {"background", "person"}
    assert set(cell["photo_fbiou"]) == {"f0", "f1", "f3"}
    assert cell["peak_memory_mb"] > 50
    assert cell["guard"]["code"]
    assert 0 <= cell["figures"]["confident_agreement"] <= 1
    assert sum(value for _, _, value in cell["counts"]["moved"]) == 3 * (SIDE // 2) ** 2
    assert set(cell["counts"]["by_photo"]) == {"f0", "f1", "f3"}
    assert {"reference_agreement_before", "reference_agreement_after"} <= set(cell["figures"])  # what the service's guard is told, too
    base = json.loads(next(tmp_path.glob("*source_only*.json")).read_text())
    assert (base["miou"], base["fbiou"]) == (cell["base_miou"], cell["base_fbiou"])
    assert base["figures"]["changed_share"] == 0


def test_the_base_is_scored_once(data: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run_cell(spec_of(), data, None, CellStore(tmp_path))
    computed = []
    compute = cell_module.compute
    monkeypatch.setattr(cell_module, "compute", lambda spec, *rest: (computed.append(spec.method), compute(spec, *rest))[1])
    run_cell(spec_of(seed=1), data, None, CellStore(tmp_path))
    assert computed == ["adabn"]


def test_a_pss_user_adapts_to_all_photos_and_scores_the_labelled(tmp_path: Path, small: None) -> None:
    make_pss(tmp_path / "pss")
    spec = replace(spec_of(), gallery=GalleryRecipe("pss/id10"))
    cell = json.loads(run_cell(spec, tmp_path, tmp_path / "pss", CellStore(tmp_path / "cells")).read_text())
    assert (cell["kind"], cell["photos"], cell["scored_photos"]) == ("pss", 4, 2)
    assert set(cell["photo_fbiou"]) == {"x1", "x2"}


def test_another_album_or_a_mended_mask_is_another_cell(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    users = {name: make_pss(tmp_path / name) / "id1" for name in ("a", "b")}
    assert album_digest(users["a"]) == album_digest(users["b"])
    (users["b"] / "train_cluster80.txt").write_text("not read\n")
    assert album_digest(users["a"]) == album_digest(users["b"])
    mask = users["b"] / "SegmentationClass" / "x1.png"
    Image.fromarray(np.zeros((72, 96), np.uint8)).save(mask)
    recipe, common = GalleryRecipe("pss/id1"), {"base": "espnetv2_tiny", "budget_seconds": 60.0, "epochs": 1}
    (_, of_a), (_, of_b) = (quality.plan(["adabn"], [recipe], 1, user.parent, **common) for user in users.values())
    assert cell_key(of_a, INFO) != cell_key(of_b, INFO)
    assert CellSpec.from_json(of_b.to_json()) == of_b
    assert "album" not in replace(of_b, album=None).to_json(), "cells of old keep their keys"
    store = CellStore(tmp_path / "cells")
    run_cell(of_a, tmp_path, users["a"].parent, store)
    small_info = replace(INFO, side=SIDE)
    assert store.read(of_a, small_info) is not None and store.read(of_b, small_info) is None

    compute = cell_module.compute

    def meddle(*given: Any) -> Any:
        mask.write_bytes((users["a"] / "SegmentationClass" / "x1.png").read_bytes())
        return compute(*given)

    monkeypatch.setattr(cell_module, "compute", meddle)
    with pytest.raises(RuntimeError, match="pss/id1 have changed"):
        run_cell(of_b, tmp_path, users["b"].parent, store)
    assert store.read(of_b, small_info) is None


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((72, 96, 3), np.uint8), "x1 has colours"),
        (np.full((72, 96), 21, np.uint8), r"x1 holds \[21\]: class ids are 0 to 20"),
        (np.zeros((96, 72), np.uint8), "x1 is 72 × 96, its photo 96 × 72"),
    ],
)
def test_a_mask_that_cannot_be_scored_is_named(mask: np.ndarray, says: str, tmp_path: Path, small: None) -> None:
    user = make_pss(tmp_path / "pss") / "id1"
    Image.fromarray(mask).save(user / "SegmentationClass" / "x1.png")
    with pytest.raises(ValueError, match=says):
        run_cell(replace(spec_of("source_only"), gallery=GalleryRecipe("pss/id1")), tmp_path, user.parent, CellStore(tmp_path / "cells"))


def test_masks_are_scored_at_the_labels_own_size(tmp_path: Path) -> None:
    user = make_pss(tmp_path) / "id1"
    gallery = open_user(user)
    right = [gallery.label(index) for index in gallery.scored]
    for name in ("x1", "x2"):
        with Image.open(user / "SegmentationClass" / f"{name}.png") as label:
            label.resize((48, 36), Image.Resampling.NEAREST).save(user / "SegmentationClass" / f"{name}.png")
    scores = score(load_base("espnetv2_tiny"), gallery, [np.where(label == 255, 0, label) for label in right])
    assert (scores.miou, scores.fbiou) == (100.0, 100.0)


def test_ours_keeps_its_verdict_and_a_sheet(data: Path, tmp_path: Path, small: None) -> None:
    path = run_cell(spec_of("ours", settings={"epochs": 1}), data, None, CellStore(tmp_path))
    cell = json.loads(path.read_text())
    served = "miou" if cell["guard"]["accepted"] else "base_miou"
    assert cell["served_miou"] == cell[served]
    assert path.with_suffix(".png").exists()


def test_a_cell_whose_code_changed_meanwhile_is_not_kept(data: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(["before", "after"])
    monkeypatch.setattr(cell_module, "cell_key", lambda spec, info: next(keys))
    with pytest.raises(RuntimeError, match="code changed"):
        run_cell(spec_of(), data, None, CellStore(tmp_path))
    assert not list(tmp_path.glob("*adabn*"))


@pytest.mark.parametrize("kind", ["one_photo", "black", "text"])
def test_junk_ends_without_an_error_and_without_scores(kind: str, tmp_path: Path, small: None) -> None:
    spec = replace(spec_of("ours", settings={"epochs": 1}), gallery=GalleryRecipe(f"junk/{kind}", photos=3))
    cell = json.loads(run_cell(spec, tmp_path, None, CellStore(tmp_path)).read_text())
    assert cell["miou"] is None
    assert isinstance(cell["guard"]["accepted"], bool)


def test_the_key_depends_on_what_the_cell_depends_on() -> None:
    key = cell_key(spec_of(), INFO)
    others = [
        spec_of("tent"),
        spec_of(seed=1),
        spec_of(device="cuda"),
        replace(spec_of(), epochs=2),
        replace(spec_of(), gallery=replace(RECIPE, seed=1)),
    ]
    assert len({key, *(cell_key(other, INFO) for other in others)}) == 6
    assert cell_key(spec_of(), replace(INFO, sha256="0" * 64)) != key
    assert cell_key(spec_of("source_only", seed=5), INFO) == cell_key(spec_of("source_only"), INFO)


def test_hit_and_miss(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    assert store.read(spec_of(), INFO) is None
    store.write(spec_of(), INFO, {"miou": 1.0})
    assert store.read(spec_of(), INFO) == {"key": cell_key(spec_of(), INFO), "miou": 1.0}
    assert store.read(spec_of(seed=1), INFO) is None
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def write_module(root: Path, name: str, text: str) -> None:
    path = root.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_code_that_counts(tmp_path: Path) -> None:
    write_module(tmp_path, "models.a", '"""A."""\nfrom models import b\nfrom models.c import thing\nimport numpy\n')
    write_module(tmp_path, "models.b", "x = 1\n")
    write_module(tmp_path, "models.c", "from models.d import y\nthing = y\n")
    write_module(tmp_path, "models.d", "y = 1\n")
    write_module(tmp_path, "models.other", "z = 1\n")
    assert closure(["models.a"], root=tmp_path) == ("models.a", "models.b", "models.c", "models.d")
    assert closure(["models.a"], frozenset({"models.c"}), root=tmp_path) == ("models.a", "models.b")


def test_the_hash_sees_code_and_not_words(tmp_path: Path) -> None:
    write_module(tmp_path, "models.a", '"""A."""\n\n\ndef f(x: int) -> int:\n    """Says."""\n    return x + 1  # why\n')
    first = code_hash(["models.a"], tmp_path)
    write_module(tmp_path, "models.a", '"""Another text."""\n\ndef f(x: int) -> int:\n    return x + 1\n')
    assert code_hash(["models.a"], tmp_path) == first
    write_module(tmp_path, "models.a", "def f(x: int) -> int:\n    return x + 2\n")
    assert code_hash(["models.a"], tmp_path) != first


@pytest.mark.parametrize(("method", "inside", "outside"), [
    ("advent", "models.adversarial", "models.personalize"),
    ("tent", "models.losses", "models.adversarial"),
    ("ours", "models.selftraining", "models.train_base"),
])  # fmt: skip
def test_a_method_depends_on_its_own_code_only(method: str, inside: str, outside: str) -> None:
    from benchmarks.cells import LEFT_OUT

    modules = closure([type(METHODS[method].method).__module__], LEFT_OUT)
    assert inside in modules
    assert outside not in modules
    assert "benchmarks.survey.methods" not in modules


def runner_of(tmp_path: Path, data: Path) -> Runner:
    return Runner({"espnetv2_tiny": INFO}, data, CellStore(tmp_path))


def test_an_interrupted_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, specs = runner_of(tmp_path, tmp_path), [spec_of(seed=seed) for seed in range(3)]
    asked: list[int] = []

    def compute(self: Runner, spec: CellSpec, stop: object) -> Failure | None:
        asked.append(spec.seed)
        if len(asked) == 2:
            raise KeyboardInterrupt
        self.store.write(spec, INFO, {"seed": spec.seed})
        return None

    monkeypatch.setattr(Runner, "_compute", compute)
    with pytest.raises(KeyboardInterrupt):
        runner.run(specs)
    kept = 3 - len(runner.missing(specs))
    assert kept in (1, 2)
    asked.clear()
    asked += [-1, -1]
    run = runner.run(specs)
    assert sorted(cell["seed"] for cell in run.cells) == [0, 1, 2]
    assert len(asked) - 2 == 3 - kept


def test_a_cell_that_fails_is_told_and_not_cached(tmp_path: Path) -> None:
    """The one test with a real child process: the data are missing."""
    told = []
    run = runner_of(tmp_path / "cells", tmp_path / "nowhere").run([spec_of()], lambda spec, failed: told.append((spec.method, failed)))
    assert told == [("adabn", True)]
    assert not run.cells
    (failure,) = run.failures
    assert "FileNotFoundError" in failure.reason
    assert not list(tmp_path.rglob("*.json"))
