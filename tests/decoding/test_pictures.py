"""Any file to an upright sRGB picture, once, in one place."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from app.decoding.errors import PhotoRejected
from app.decoding.pool import DecoderPool
from tests.app.photos import encoded, jpeg, picture
from tests.decoding.conftest import decoded

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "HEIF")


def four_corners() -> Image.Image:
    """96 × 64 pixels, another colour in each corner."""
    image = Image.new("RGB", (96, 64))
    for index, colour in enumerate(((250, 10, 10), (10, 250, 10), (10, 10, 250), (240, 240, 240))):
        image.paste(colour, (48 * (index % 2), 32 * (index // 2), 48 * (index % 2) + 48, 32 * (index // 2) + 32))
    return image


def corners(image: Image.Image) -> list[str]:
    """Which colour leads in each corner."""
    names = []
    for point in ((8, 8), (image.width - 8, 8), (8, image.height - 8), (image.width - 8, image.height - 8)):
        pixel = image.getpixel(point)
        assert isinstance(pixel, tuple)
        names.append("white" if min(pixel) > 150 else "rgb"[pixel.index(max(pixel))])
    return names


def with_orientation(format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if format != "HEIF":
        return encoded(four_corners(), format, exif=exif)
    # pillow_heif turns EXIF's orientation into HEIF's own transformation, as cameras do.
    return encoded(four_corners(), format, exif=exif.tobytes(), quality=90)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", FORMATS)
def test_orientation_is_honoured_once_in_facts_and_pixels(decoder: DecoderPool, format: str, orientation: int) -> None:
    data = with_orientation(format, orientation)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encode_as_jpeg(orientation))))
    photo = decoded(decoder, data)
    facts = decoder.inspect(io.BytesIO(data))
    assert (facts.width, facts.height) == photo.size == turned.size
    assert corners(photo) == corners(turned.convert("RGB"))
    with Image.open(io.BytesIO(decoder.thumbnail(io.BytesIO(data), 48))) as small:
        assert small.size == ((32, 48) if orientation >= 5 else (48, 32))


def encode_as_jpeg(orientation: int) -> bytes:
    return with_orientation("JPEG", orientation)


@pytest.mark.parametrize(
    ("format", "mode"),
    [(format, mode) for format in ("PNG", "TIFF") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    + [("TIFF", "CMYK"), ("TIFF", "LAB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGBA"), ("HEIF", "RGBA"),
       ("HEIF", "L")],
)  # fmt: skip
def test_every_kind_of_pixels_looks_like_the_picture(decoder: DecoderPool, format: str, mode: str) -> None:
    original = four_corners()
    source = (
        ImageCms.profileToProfile(original, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
        if mode == "LAB"
        else original.convert(mode)
    )
    assert source is not None
    photo = decoded(decoder, encoded(source, format))
    grey = mode in ("1", "L", "LA")
    expected = np.asarray(original.convert("L").convert("RGB") if grey else original, dtype=np.int16)
    tolerance = 140 if mode == "1" else 40
    assert np.abs(np.asarray(photo, dtype=np.int16)[8:-8:8, 8:-8:8] - expected[8:-8:8, 8:-8:8]).mean() < tolerance
    facts = decoder.inspect(io.BytesIO(encoded(source, format)))
    assert (facts.width, facts.height) == photo.size


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(decoder: DecoderPool, mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (8, 8), 3)
        image.putpalette([0, 0, 0] * 8)
        data = encoded(image, "PNG", transparency=3)
    else:
        data = encoded(Image.new(mode, (8, 8), 0), "PNG")
    assert decoded(decoder, data).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(decoder: DecoderPool, format: str) -> None:
    data = encoded(Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16)), format)
    assert np.asarray(decoded(decoder, data))[0, :, 0].tolist() == [0, 100, 255]


def test_a_colour_profile_is_obeyed(decoder: DecoderPool) -> None:
    wide = swapped_profile()
    data = encoded(Image.new("RGB", (16, 16), (255, 0, 0)), "PNG", icc_profile=wide)
    pixel = decoded(decoder, data).getpixel((8, 8))
    # In this profile, what the file calls red is the screen's green.
    assert isinstance(pixel, tuple) and pixel[1] > 200 and pixel[0] < 90


@pytest.mark.parametrize("profile", [b"", b"nonsense", b"\0" * 128, b"\xff" * 5000])
def test_a_broken_profile_is_no_profile(decoder: DecoderPool, profile: bytes) -> None:
    data = encoded(Image.new("RGB", (16, 16), (250, 5, 5)), "PNG", icc_profile=profile)
    assert decoded(decoder, data).getpixel((8, 8)) == (250, 5, 5)


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    entries = {bytes(profile[132 + 12 * index : 136 + 12 * index]): 132 + 12 * index for index in range(count)}
    for tag, value in ((b"rXYZ", b"gXYZ"), (b"gXYZ", b"rXYZ")):
        profile[entries[tag] : entries[tag] + 4] = value
    # By its own name it would be taken for what it is not.
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        at = profile.find(name, 132)
        if at >= 0:
            profile[at : at + len(name)] = name.swapcase()
    return bytes(profile)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(decoder: DecoderPool, format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    pixel = decoded(decoder, data).getpixel((8, 8))
    assert isinstance(pixel, tuple) and pixel[0] > 240 and max(pixel[1:]) < 15


def test_floating_point_pixels_are_not_taken(decoder: DecoderPool) -> None:
    data = encoded(Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)), "TIFF")
    with pytest.raises(PhotoRejected) as rejection:
        decoder.pixels(io.BytesIO(data))
    assert rejection.value.code == "unsupported_format"


def test_a_large_photo_of_many_strips_is_put_together_again(decoder: DecoderPool) -> None:
    image = picture(3000, 2500, seed=4).convert("RGBA")
    assert decoded(decoder, encoded(image, "PNG", compress_level=1)).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("format", "at_least", "size"),
    [
        ("JPEG", 480, (800, 600)),
        ("JPEG", 150, (200, 150)),
        ("JPEG", 151, (400, 300)),
        ("JPEG", 601, (1600, 1200)),
        ("PNG", 150, (1600, 1200)),
    ],
)
def test_a_photo_that_may_be_smaller_is_no_smaller_than_asked_and_looks_the_same(
    decoder: DecoderPool, format: str, at_least: int, size: tuple[int, int]
) -> None:
    image = picture(20, 15, seed=3).resize((1600, 1200), Image.Resampling.BICUBIC)
    data = encoded(image, format)
    photo = decoded(decoder, data, at_least)
    assert photo.size == size
    small, whole = (np.asarray(each.resize((96, 96), Image.Resampling.BILINEAR), np.float32) for each in (photo, decoded(decoder, data)))
    assert np.abs(small - whole).mean() < 1.0, "of 255"


def test_a_smaller_photo_is_turned_as_the_large_one_is(decoder: DecoderPool) -> None:
    for orientation in range(1, 9):
        data = with_orientation("JPEG", orientation)
        small, whole = decoded(decoder, data, 30), decoded(decoder, data)
        assert (small.width * 2, small.height * 2) == whole.size
        assert corners(small) == corners(whole)


@pytest.mark.parametrize("format", FORMATS)
def test_no_cut_of_a_file_is_taken(decoder: DecoderPool, format: str) -> None:
    options = {"progressive": True} if format == "JPEG" else {}
    whole = encoded(picture(120, 90, seed=9), format, **options)
    assert decoder.inspect(io.BytesIO(whole)).width == 120
    for cut in {*range(len(whole) - 40, len(whole)), *range(1, len(whole), max(1, len(whole) // 40))}:
        with pytest.raises(PhotoRejected) as rejection:
            decoder.inspect(io.BytesIO(whole[:cut]))
        assert rejection.value.code in ("truncated_image", "not_an_image"), cut


def test_a_baseline_jpeg_without_its_last_byte_is_not_taken(decoder: DecoderPool) -> None:
    for cut in (1, 2, 3):
        with pytest.raises(PhotoRejected, match="damaged or cut off"):
            decoder.inspect(io.BytesIO(jpeg()[:-cut]))


def test_derived_pictures_carry_no_metadata(decoder: DecoderPool) -> None:
    secret = b"SECRET-PLACE-52.5200N"
    for format in FORMATS:
        data = with_secret(format, secret)
        assert secret in data, format
        labels = encoded(Image.new("P", (64, 48), 1), "PNG")
        small = decoder.thumbnail(io.BytesIO(data), 64)
        laid_over = decoder.overlay(io.BytesIO(data), io.BytesIO(labels))
        for derived in (small, laid_over):
            assert secret not in derived
            with Image.open(io.BytesIO(derived)) as image:
                image.load()
                assert not image.getexif() and not {"exif", "icc_profile", "xmp", "comment", "photoshop"} & set(image.info), format


def with_secret(format: str, secret: bytes) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = secret.decode()
    exif[ExifTags.Base.ImageDescription] = secret.decode()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (52.0, 31.0, 12.0)
    options: dict[str, object] = {"exif": exif if format != "HEIF" else exif.tobytes()}
    if format == "JPEG":
        options |= {"comment": secret, "icc_profile": swapped_profile()}
    return encoded(picture(), format, **options)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("mode", "size"), [("1", (13, 7)), ("L", (1, 1)), ("P", (9, 5)), ("RGB", (3, 17)), ("RGBA", (8, 8)), ("LA", (2, 3))]
)
def test_a_whole_png_of_any_kind_has_all_its_pixels(decoder: DecoderPool, mode: str, size: tuple[int, int], interlaced: bool) -> None:
    image = picture(*size, seed=2).convert(mode)
    data = interlaced_png(image) if interlaced else encoded(image, "PNG")
    facts = decoder.inspect(io.BytesIO(data))
    assert (facts.width, facts.height) == size


def interlaced_png(image: Image.Image) -> bytes:
    """Adam7 written by hand (Pillow cannot): grey or RGB, 8 bits."""
    image = image.convert("RGB" if image.mode in ("P", "RGB", "RGBA") else "L")
    pixels = np.asarray(image)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size)
    header = struct.pack(">IIBBBBB", *image.size, 8, 2 if image.mode == "RGB" else 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body
