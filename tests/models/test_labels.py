from models.labels import VOC_CLASSES, VOC_PALETTE


def test_palette_is_the_voc_color_map() -> None:
    named = dict(zip(VOC_CLASSES, VOC_PALETTE, strict=False))
    assert named["background"] == (0, 0, 0)
    assert named["aeroplane"] == (128, 0, 0)
    assert named["cat"] == (64, 0, 0)
    assert named["person"] == (192, 128, 128)
    assert named["tvmonitor"] == (0, 64, 128)
    assert VOC_PALETTE[255] == (224, 224, 192)  # the border colour of VOC's own masks


def test_there_are_21_classes_and_no_color_twice() -> None:
    assert len(VOC_CLASSES) == 21
    assert len(set(VOC_PALETTE[:21])) == 21
