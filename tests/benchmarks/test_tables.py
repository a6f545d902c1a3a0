import hashlib
import json
import re
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import guard, plots, quality
from benchmarks.cells import CellSpec, CellStore
from benchmarks.recipes import JUNK_GALLERIES, REPORTED, GalleryRecipe, Kind
from benchmarks.runner import Runner, known_bases
from benchmarks.sheets import chosen_photos
from benchmarks.summary import UNGUARDED, duels, mean, rows
from benchmarks.survey.methods import METHODS
from benchmarks.tables import markdown, means_rows, print_tables
from models.bases import fetch
from models.bases.registry import available_bases
from tests.benchmarks.conftest import make_pss

INFOS = {info.name: info for info in available_bases()}
FARM, PETS = GalleryRecipe("farm", "grey", 8), GalleryRecipe("pets", "warm", 9)


def cell(
    method: str,
    gallery: GalleryRecipe,
    miou: float | None,
    *,
    seed: int = 0,
    accepted: bool = True,
    fbiou: float = 60.0,
    code: str = "",
) -> dict[str, Any]:
    served = (miou, fbiou) if accepted else (40.0, 50.0)
    verdict = {"accepted": accepted, "code": code or ("accepted" if accepted else "drifted"), "sentence": "", "figures": {}}
    return {
        "method": method, "title": METHODS[method].title, "for_guard_only": METHODS[method].for_guard_only, "gallery": gallery.name,
        "kind": str(gallery.kind), "seed": seed, "miou": miou, "fbiou": fbiou, "base_miou": 40.0, "base_fbiou": 50.0,
        "served_miou": served[0], "served_fbiou": served[1], "seconds": 10.0, "cpu_seconds": 8.0, "peak_memory_mb": 500.0,
        "guard": verdict, "own_verdict": verdict, "figures": {"changed_share": 0.1}, "spec": asdict(CellSpec(method, gallery, seed)),
    }  # fmt: skip


CELLS = [
    cell("source_only", FARM, 40.0, fbiou=50.0),
    cell("tent", FARM, 35.0),
    cell("ours", FARM, 48.0, seed=0),
    cell("ours", FARM, 30.0, seed=1, accepted=False),
    cell("source_only", PETS, 40.0, fbiou=50.0),
    cell("ours", PETS, 46.0),
    cell("tent_3_epochs", PETS, 20.0),
]


def test_rows_are_means_over_seeds_of_what_is_served() -> None:
    table = {(row.method, row.gallery): row for row in rows(CELLS)}
    ours = table["ours", FARM.name]
    assert (ours.miou, ours.miou_gain, ours.fbiou_gain, ours.seeds, ours.refused) == (44.0, 4.0, 5.0, 2, 1)
    assert (ours.spread, ours.seconds, ours.core_seconds) == (4.0, 10.0, 8.0)
    unguarded = table[UNGUARDED, FARM.name]
    assert (unguarded.miou, unguarded.refused) == (39.0, 0)
    assert table["tent", FARM.name].miou_gain == -5.0
    assert not any(method == "tent_3_epochs" for method, _ in table)


def test_a_trained_model_is_refused_where_its_appearance_alone_is_served() -> None:
    served = cell("ours", FARM, 30.0, code="appearance_only") | {"served_miou": 45.0, "served_fbiou": 52.0}
    table = {row.method: row for row in rows([cell("source_only", FARM, 40.0, fbiou=50.0), cell("ours", FARM, 48.0, seed=1), served])}
    assert (table["ours"].refused, table["ours"].seeds, table["ours"].miou) == (1, 2, 46.5)  # (48 + 45) / 2
    assert table[UNGUARDED].miou == 39.0  # (48 + 30) / 2
    (worse,) = guard.judged_models([served])  # 10 points under the base
    assert (worse.worse, worse.accepted, worse.code) == (True, False, "appearance_only")
    better = cell("ours", FARM, 46.0, code="appearance_only")
    assert guard.share_refused(guard.judged_models([better, cell("ours", FARM, 46.0)])) == (1, 2)


def test_a_mean_is_over_all_galleries_or_none() -> None:
    table = rows(CELLS)
    found = mean(table, "ours", Kind.SHIFTED)
    assert found is not None
    assert (found.galleries, found.miou, found.miou_gain) == (2, 45.0, 5.0)
    assert mean(table, "tent", Kind.SHIFTED) is None


def test_a_duel_is_on_the_galleries_of_both() -> None:
    (duel,) = duels(rows(CELLS))  # Tent was measured on the farm alone, the base is no rival
    assert (duel.title, duel.galleries, duel.ahead) == ("Tent", 1, 1)
    assert (duel.miou_gain, duel.fbiou_gain, duel.ours_miou_gain, duel.ours_fbiou_gain) == (-5.0, 10.0, 4.0, 5.0)
    assert duels(rows([cell("tent", FARM, 35.0), cell("ours", PETS, 46.0)])) == []


def test_tables_in_words() -> None:
    console = Console(file=StringIO(), width=160)
    print_tables(rows(CELLS), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "camera-shifted (2)" in text
    assert "1/2" in text
    assert "Beside ours" in text
    lines = markdown(rows(CELLS)).splitlines()
    assert lines[2].startswith("| method | camera-shifted (2) | gain |")
    assert any(line.startswith("| ours | 45.0 / 57.5 | +5.0 / +7.5 |") for line in lines)
    assert "| ours | +4.0 / +5.0 | +6.0 / +10.0 |" in lines
    assert "| Tent | 1 | -5.0 / +10.0 | +4.0 / +5.0 | 1 of 1 |" in lines


def test_bars_are_drawn(tmp_path: Path) -> None:
    plots.gain_bars(rows(CELLS), "miou", tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 5000


def test_best_median_and_worst_photo() -> None:
    photos = {name: {"before": 50.0, "after": 50.0 + gain} for name, gain in (("a", 1.0), ("b", -3.0), ("c", 7.0))}
    photos["d"] = {"before": None, "after": 5.0}
    assert chosen_photos(photos) == [("best", "c", 7.0), ("median", "a", 1.0), ("worst", "b", -3.0)]
    assert chosen_photos({"a": {"before": 1.0, "after": 2.0}}) == [("best", "a", 1.0)]
    assert chosen_photos({}) == []


def test_the_guard_counts_worse_and_better() -> None:
    cells = [
        cell("tent", FARM, 30.0, accepted=False),
        cell("tent", PETS, 39.4),
        cell("tent", PETS, 39.7, accepted=False),
        cell("ours", PETS, 46.0),
        cell("ours", FARM, 46.0, accepted=False),
        cell("ours", JUNK_GALLERIES[0], None, accepted=False),
        cell("source_only", FARM, 40.0),
    ]
    models = guard.judged_models(cells)
    assert len(models) == 6
    assert guard.share_refused([model for model in models if model.worse]) == (1, 2)
    assert guard.share_refused([model for model in models if model.better]) == (1, 2)


def test_the_guard_command_reads_the_store(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells")
    for given in (cell("tent", FARM, 30.0, accepted=False), cell("adabn", FARM, 30.0)):
        store.write(CellSpec.from_json(given["spec"]), INFOS["espnetv2"], given)
    result = CliRunner().invoke(_app(guard.main), ["--out", str(tmp_path), "--wrong"])
    assert result.exit_code == 1
    assert "2 models" in result.output
    assert "wrong farm-grey-64-report-s8" in result.output


def _app(command: Any) -> Any:
    import typer

    app = typer.Typer()
    app.command()(command)
    return app


def test_cells_of_a_base_that_its_user_trained_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells' processes write under the sha256 of the installed file; the registry's entry has none."""
    monkeypatch.setattr("benchmarks.runner.default_folder", lambda: tmp_path / "weights")
    entry = INFOS["pspnet_resnet50"]
    assert entry.must_be_trained
    assert known_bases() == INFOS  # nothing is installed
    installed, data = tmp_path / "weights" / "mine.safetensors", b"trained by its user"
    installed.parent.mkdir()
    installed.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    receipt = fetch.Receipt(entry.name, installed.name, sha256, len(data), installed.name, sha256)
    (installed.parent / f"{entry.name}.json").write_text(json.dumps(asdict(receipt)))
    loaded = replace(entry, sha256=fetch.read(entry, installed.parent)[1])  # as `load_entry` does
    assert (loaded.sha256, known_bases()) == (sha256, INFOS | {entry.name: loaded})
    store = CellStore(tmp_path / "cells")
    for name, miou in (("source_only", 40.0), ("tent", 35.0)):
        spec = CellSpec(name, FARM, base=entry.name)
        store.write(spec.of_base() if name == "source_only" else spec, loaded, cell(name, FARM, miou) | {"spec": asdict(spec)})
    given = ["--dry-run", "--methods", "tent", "--gallery", "farm:grey:8", "--base", entry.name, "--out", str(tmp_path)]
    found = CliRunner().invoke(_app(quality.main), given)
    assert "2 cells, 2 of them cached" in found.output, found.output
    assert "1 models" in CliRunner().invoke(_app(guard.main), ["--out", str(tmp_path)]).output  # Tent's, as of today's code
    installed.write_bytes(b"something else")
    assert known_bases() == INFOS  # a damaged file is told by the cell, not here


def test_a_device_that_is_not_there_is_refused_before_any_cell(tmp_path: Path) -> None:
    given = ["--methods", "tent", "--gallery", "farm:grey:8", "--device", "bogus", "--out", str(tmp_path)]
    refused = CliRunner().invoke(_app(quality.main), given)
    assert refused.exit_code == 2 and "no device 'bogus'" in refused.output, refused.output
    assert list(tmp_path.iterdir()) == []
    planned = CliRunner().invoke(_app(quality.main), [*given, "--dry-run"])  # for another machine
    assert planned.exit_code == 0, planned.output


def test_the_plan() -> None:
    specs = quality.plan(["source_only", "tent", "ours"], [REPORTED[0], JUNK_GALLERIES[0]], None, settings={"epochs": 2})
    names = [(spec.method, spec.gallery.kind, spec.seed) for spec in specs]
    assert names == [
        ("source_only", Kind.SHIFTED, 0),
        ("tent", Kind.SHIFTED, 0),
        *(("ours", Kind.SHIFTED, seed) for seed in range(3)),
        ("source_only", Kind.JUNK, 0),
        ("ours", Kind.JUNK, 0),
    ]
    assert [spec.settings for spec in specs if spec.method == "ours"] == [{"epochs": 2}] * 4
    assert all(not spec.settings for spec in specs if spec.method != "ours")


def test_methods_by_name() -> None:
    assert quality.choose_methods(["tent,adabn"], short=False, guard=False) == ["tent", "adabn"]
    assert "tent_3_epochs" in quality.choose_methods(["tent*"], short=False, guard=False)
    default = quality.choose_methods(None, short=False, guard=False)
    assert default[0] == "source_only"
    assert not any(METHODS[name].for_guard_only for name in default)
    assert any(METHODS[name].for_guard_only for name in quality.choose_methods(None, short=False, guard=True))


def test_dry_run_and_list(tmp_path: Path) -> None:
    app = _app(quality.main)
    result = CliRunner().invoke(app, ["--dry-run", "--methods", "tent", "--gallery", "0001TP", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "to compute: tent · 0001TP-untouched-64-report-s0 · seed 0" in result.output
    assert "to compute: source_only" in result.output
    make_pss(tmp_path / "pss")
    result = CliRunner().invoke(app, ["--pss", str(tmp_path / "pss"), "--dry-run", "--methods", "adabn", "--out", str(tmp_path)])
    assert [f"adabn · pss/{user}-untouched" in result.output for user in ("id1", "id2", "id10")] == [True] * 3
    listed = CliRunner().invoke(app, ["--list"]).output
    assert all(name in listed for name in METHODS)
    assert CliRunner().invoke(app, ["--methods", "nothing"]).exit_code == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--base", "nope"), "no base named 'nope'; there are espnetv2"),
        (("--set", "epocs=2"), "no setting named 'epocs'; there are"),
        (("--set", "seed=3"), "no setting named 'seed'; there are"),
        (("--set", "epochs"), "expected name=value"),
    ],
)
def test_a_wrong_argument_is_told_before_the_first_cell(wrong: tuple[str, str], told: str, tmp_path: Path) -> None:
    given = ["--dry-run", "--methods", "ours", "--gallery", "0001TP", "--out", str(tmp_path), *wrong]
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(_app(quality.main), given)
    assert result.exit_code == 2 and told in result.output


def test_a_relative_folder_for_results_is_one_of_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[CellStore] = []

    def remember(runner: Runner, _specs: object) -> list[CellSpec]:
        stores.append(runner.store)
        return []

    monkeypatch.setattr(Runner, "missing", remember)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(_app(quality.main), ["--dry-run", "--gallery", "0001TP", "--out", "results"]).exit_code == 0
    assert [store.root for store in stores] == [tmp_path / "results" / "cells"]


def test_missing_photos_are_told_before_the_first_cell(tmp_path: Path) -> None:
    def told(*options: str) -> str:
        result = CliRunner().invoke(_app(quality.main), [*options, "--data", str(tmp_path), "--out", str(tmp_path / "out")])
        assert result.exit_code == 2, result.output
        return re.sub(r"[\s│╭╮╰╯─]", "", result.output)  # the terminal breaks long paths anywhere

    assert "camvid" in told("--methods", "tent", "--gallery", "0001TP")
    assert "id1,id2" in told("--pss", str(tmp_path))
    make_pss(tmp_path / "pss")
    assert "--source" in told("--pss", str(tmp_path / "pss"), "--methods", "cbst", "--source", "elsewhere")
    assert "voc2012/train" in told("--pss", str(tmp_path / "pss"), "--methods", "cbst")
    (tmp_path / "voc2012" / "train").mkdir(parents=True)  # of no use to somebody who names another folder
    assert "nowhere:see--data" in told("--pss", str(tmp_path / "pss"), "--methods", "source_only,cbst", "--source", "nowhere")
    (tmp_path / "voc2012" / "train").rmdir()
    (tmp_path / "pss" / "id10" / "SegmentationClass" / "x1.png").unlink()
    assert "id10/val_all.txtlists['x1']" in told("--pss", str(tmp_path / "pss"))
    assert "--pss" in told("--gallery", "pss/id1")
    assert not (tmp_path / "out" / "cells").exists()


def test_cells_are_read_where_the_photos_are_not(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells")
    for given in (cell("source_only", FARM, 40.0, fbiou=50.0), cell("cbst", FARM, 41.0)):
        store.write(CellSpec.from_json(given["spec"]), INFOS["espnetv2"], given)
    given = ["--cached", "--methods", "cbst,advent", "--seeds", "1", "--gallery", "farm:grey:8", "--out", str(tmp_path)]
    result = CliRunner().invoke(_app(quality.main), [*given, "--data", str(tmp_path / "nowhere")])
    assert result.exit_code == 0, result.output
    assert "CBST" in result.output and "not in the tables: 1 cells of AdvEnt" in result.output


def test_a_mean_says_of_how_many_seeds_it_is() -> None:
    cells = [cell("source_only", FARM, 40.0), cell("source_only", PETS, 40.0)]
    cells += [cell("cbst", FARM, 41.0, seed=seed) for seed in range(3)] + [cell("cbst", PETS, 41.0)]
    heading, lines = means_rows(rows(cells))
    assert [line[heading.index("seeds")] for line in lines] == ["1", "1–3"]


def test_what_is_cached_makes_a_table_and_nothing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CellStore(tmp_path / "cells")
    for given in (cell("source_only", FARM, 40.0, fbiou=50.0), cell("tent", FARM, 35.0)):
        store.write(CellSpec.from_json(given["spec"]), INFOS["espnetv2"], given)
    monkeypatch.setattr("benchmarks.runner.Runner._compute", lambda *_: pytest.fail("computed a cell"))
    given = ["--cached", "--methods", "tent,adabn", "--gallery", "farm:grey:8", "--gallery", "pets:warm:9", "--out", str(tmp_path)]
    result = CliRunner().invoke(_app(quality.main), given)
    assert result.exit_code == 0, result.output
    assert "-5.0" in result.output
    written = (tmp_path / "quality.md").read_text()
    assert "Tent" in written
    assert "AdaBN" not in written
    assert "pets" not in written
