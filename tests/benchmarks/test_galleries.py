from pathlib import Path

import numpy as np
import pytest
import typer

from benchmarks.galleries import open_gallery
from benchmarks.junk import JunkGallery
from benchmarks.pss import listed_ids, open_user, users
from benchmarks.recipes import JUNK_GALLERIES, JUNK_KINDS, REPORTED, SHORT, GalleryRecipe, Kind, parse_recipe
from models.evaluate import tuning_half
from tests.benchmarks.conftest import make_pss, write_pair


def test_what_is_reported() -> None:
    kinds = [recipe.kind for recipe in REPORTED]
    voc = [recipe for recipe in REPORTED if recipe.kind in (Kind.SHIFTED, Kind.UNTOUCHED)]
    assert len(voc) >= 10
    assert len({recipe.camera for recipe in voc} - {"untouched"}) >= 6
    assert kinds.count(Kind.UNTOUCHED) == 2
    assert kinds.count(Kind.CAMVID) == 3
    assert all(recipe.half == "report" and recipe.photos == 64 for recipe in REPORTED)
    assert len({recipe.name for recipe in (*REPORTED, *SHORT, *JUNK_GALLERIES)}) == len(REPORTED) + len(SHORT) + len(JUNK_GALLERIES)


def test_recipes_in_words() -> None:
    assert parse_recipe("pets:low_light:3:48:tune") == GalleryRecipe("pets", "low_light", 3, 48, "tune")
    assert parse_recipe("0006R0") == GalleryRecipe("0006R0")
    assert parse_recipe("junk/sky").kind is Kind.JUNK
    assert parse_recipe("pss/id3").kind is Kind.PSS


@pytest.mark.parametrize("text", ["pets:fog", "pets:grey:x", "cars", "junk/sand", "pets:grey:1:2:both", "a:b:c:d:e:f"])
def test_recipes_that_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_recipe(text)


def test_a_gallery_of_the_right_half_and_subject(tmp_path: Path) -> None:
    stems = [f"p{index}" for index in range(12)]
    for index, stem in enumerate(stems):
        write_pair(tmp_path / "voc2012" / "val", stem, index)
    halves = {half: set(open_gallery(GalleryRecipe("pets", "grey", 1, half=half), tmp_path).ids) for half in ("tune", "report")}
    assert halves["tune"] == {stem for stem in stems if tuning_half(stem)}
    assert halves["tune"] | halves["report"] == set(stems)
    gallery = open_gallery(GalleryRecipe("pets", "grey", 1, photos=2), tmp_path)
    assert len(gallery.ids) == len(gallery.scored) == 2
    photo = gallery.load(0)
    assert np.array_equal(photo[..., 0], photo[..., 2])
    assert np.array_equal(photo, gallery.load(0))


@pytest.mark.parametrize("kind", JUNK_KINDS)
def test_junk(kind: str) -> None:
    gallery = JunkGallery(kind, 5, 0)
    photos = [gallery.load(index) for index in range(len(gallery.ids))]
    assert all(photo.dtype == np.uint8 and photo.shape == (240, 320, 3) for photo in photos)
    assert len(photos) == (1 if kind == "one_photo" else 5)
    same = all(np.array_equal(photos[0], photo) for photo in photos)
    assert same == (kind in ("one_photo", "copies", "black"))
    assert not gallery.scored


def test_pss_adapts_to_all_and_scores_the_labelled(tmp_path: Path) -> None:
    make_pss(tmp_path)
    assert users(tmp_path) == ["id1", "id2", "id10"]
    gallery = open_gallery(GalleryRecipe("pss/id2"), tmp_path, tmp_path)
    assert list(gallery.ids) == ["x0", "x1", "x2", "x3"]
    assert [gallery.ids[index] for index in gallery.scored] == ["x2", "x1"]
    assert gallery.load(0).shape == (72, 96, 3)
    assert set(np.unique(gallery.label(1))) == {0, 15, 255}


def test_pss_lists_may_hold_paths(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/JPEGImages/a.b.jpg /SegmentationClass/a.b.png 3\n\nplain\nwith.dot\n")
    assert listed_ids(tmp_path / "list.txt") == ["a.b", "plain", "with.dot"]


def test_pss_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--pss"):
        open_gallery(GalleryRecipe("pss/id1"), tmp_path)
    with pytest.raises(FileNotFoundError, match="id1"):
        users(tmp_path)
    make_pss(tmp_path)
    (tmp_path / "id1" / "val_all.txt").write_text("x0\n")
    with pytest.raises(FileNotFoundError, match="x0"):
        open_user(tmp_path / "id1")
    (tmp_path / "id1" / "val_all.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_all\.txt"):
        open_user(tmp_path / "id1")
