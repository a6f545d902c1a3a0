"""The sample album of `personalseg demo`: photographs that ship inside PyPI packages, with everyday variations.

Nothing is downloaded: each source is a file inside an installed wheel (scikit-image, scikit-learn, matplotlib). The
variations are what one person's photos really differ by — nearer or farther, evening, lamp light, haze, a moved camera,
a mirrored selfie — and every one is deterministic, so that two runs of the demo adapt to the same pixels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from app.demo.errors import DemoError

Edit = Callable[[Image.Image], Image.Image]

JPEG_QUALITY = 90
LONGER_SIDE_PIXELS = 720
"""A small album keeps the demo short; the sources are hardly larger than this."""


@dataclass(frozen=True)
class Source:
    """One photograph inside an installed package."""

    package: str
    path: str


@dataclass(frozen=True)
class Shot:
    """One photo of the album: where it goes (relative, without suffix), what it is made of, and how."""

    name: str
    source: Source
    edits: tuple[Edit, ...] = ()


# Edits: each takes and returns an RGB picture. ------------------------------------------------------------------------


def crop(left: float, top: float, right: float, bottom: float) -> Edit:
    """Keep a part; the borders are shares of the width and the height, in [0, 1]."""

    def edit(image: Image.Image) -> Image.Image:
        width, height = image.size
        return image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))

    return edit


def expose(factor: float) -> Edit:
    """Multiply the light; below 1 is darker."""
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def tint(red: float, green: float, blue: float) -> Edit:
    """A colour cast: multiply each channel."""

    def edit(image: Image.Image) -> Image.Image:
        bands = [
            band.point([min(255, round(value * gain)) for value in range(256)])
            for band, gain in zip(image.split(), (red, green, blue), strict=True)
        ]
        return Image.merge("RGB", bands)

    return edit


def haze(strength: float) -> Edit:
    """Mix with a pale sky colour; `strength` in [0, 1]."""
    return lambda image: Image.blend(image, Image.new("RGB", image.size, (206, 212, 218)), strength)


def blur(radius_pixels: float) -> Edit:
    """Out of focus."""
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius_pixels))


def shake(shift_pixels: int) -> Edit:
    """A camera that moved sideways: the mean of the picture and its shifted copies."""

    def edit(image: Image.Image) -> Image.Image:
        width, height = image.size
        mixed = image
        for index in range(1, shift_pixels + 1):
            mixed = Image.blend(mixed, ImageChops.offset(image, index, 0), 1 / (index + 1))
        return mixed.crop((shift_pixels, 0, width, height))  # the offset wraps round: cut what came from the other side

    return edit


def grain(seed: int, strength: float) -> Edit:
    """The noise of a small sensor in little light; `strength` in [0, 1]."""

    def edit(image: Image.Image) -> Image.Image:
        width, height = image.size
        values = random.Random(seed).randbytes(width * height * 3)  # noqa: S311 (noise, not a secret)
        noise = Image.frombytes("RGB", image.size, values)
        # Added around its mean, so that the picture grows no lighter.
        noise = noise.point([round((value - 128) * strength + 128) for value in range(256)] * 3)
        return ImageChops.add(image, noise, scale=1, offset=-128)

    return edit


def mirror(image: Image.Image) -> Image.Image:
    """What a front camera does."""
    return ImageOps.mirror(image)


def tilt(degrees: float) -> Edit:
    """A camera held at an angle; the empty corners are cut off."""

    def edit(image: Image.Image) -> Image.Image:
        width, height = image.size
        turned = image.rotate(degrees, resample=Image.Resampling.BICUBIC)
        margin = round(max(width, height) * abs(degrees) / 100)
        return turned.crop((margin, margin, width - margin, height - margin))

    return edit


EVENING: tuple[Edit, ...] = (expose(0.5), tint(0.92, 0.96, 1.12))
LAMP_LIGHT: tuple[Edit, ...] = (expose(0.85), tint(1.14, 0.98, 0.72))

ASTRONAUT = Source("skimage", "data/astronaut.png")
PHOTOGRAPHER = Source("skimage", "data/camera.png")
CAT = Source("skimage", "data/chelsea.png")
COFFEE = Source("skimage", "data/coffee.png")
MOTORBIKE = Source("skimage", "data/motorcycle_left.png")
MOTORBIKE_AGAIN = Source("skimage", "data/motorcycle_right.png")
LAUNCH = Source("skimage", "data/rocket.jpg")
PAGODA = Source("sklearn", "datasets/images/china.jpg")
FLOWER = Source("sklearn", "datasets/images/flower.jpg")
ADMIRAL = Source("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")

ALBUM: tuple[Shot, ...] = (
    Shot("people/eileen", ASTRONAUT),
    Shot("people/eileen-evening", ASTRONAUT, (crop(0.0, 0.0, 0.95, 0.9), *EVENING, grain(1, 0.12))),
    Shot("people/eileen-mirror", ASTRONAUT, (mirror, crop(0.1, 0.0, 1.0, 0.75), *LAMP_LIGHT)),
    Shot("people/grace", ADMIRAL),
    Shot("people/grace-close", ADMIRAL, (crop(0.1, 0.02, 0.95, 0.68), expose(1.15))),
    Shot("people/photographer", PHOTOGRAPHER),
    Shot("people/photographer-mist", PHOTOGRAPHER, (crop(0.0, 0.05, 0.9, 0.95), haze(0.4))),
    Shot("garage/motorbike", MOTORBIKE),
    Shot("garage/motorbike-evening", MOTORBIKE_AGAIN, (*EVENING, grain(2, 0.14))),
    Shot("garage/motorbike-lamp", MOTORBIKE_AGAIN, (mirror, crop(0.04, 0.06, 0.98, 1.0), *LAMP_LIGHT)),
    Shot("garage/motorbike-shaky", MOTORBIKE, (tilt(3), shake(7))),
    Shot("home/cat", CAT),
    Shot("home/cat-evening", CAT, (mirror, *EVENING, grain(3, 0.12))),
    Shot("home/cat-soft", CAT, (crop(0.08, 0.0, 1.0, 0.95), blur(1.8), expose(1.2))),
    Shot("home/coffee", COFFEE),
    Shot("home/coffee-lamp", COFFEE, (mirror, tilt(-4), *LAMP_LIGHT)),
    Shot("travel/pagoda", PAGODA),
    Shot("travel/pagoda-haze", PAGODA, (crop(0.0, 0.0, 0.85, 0.95), haze(0.45))),
    Shot("travel/pagoda-dusk", PAGODA, (mirror, expose(0.55), tint(1.2, 0.94, 0.85))),
    Shot("travel/launch", LAUNCH),
    Shot("travel/dahlia", FLOWER),
    Shot("travel/dahlia-shade", FLOWER, (crop(0.15, 0.0, 1.0, 0.9), expose(0.6))),
)


def write_album(folder: Path, shots: Sequence[Shot] = ALBUM) -> list[Path]:
    """Write the album's JPEG files under `folder` (created when missing) and return their paths.

    Raises:
        DemoError: a package that carries the photographs is not installed.
    """
    return list(_write_shots(folder, shots))


def _write_shots(folder: Path, shots: Sequence[Shot]) -> Iterator[Path]:
    for shot in shots:
        path = folder / f"{shot.name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        render(shot).save(path, "JPEG", quality=JPEG_QUALITY)
        yield path


def render(shot: Shot) -> Image.Image:
    """The shot's RGB picture, at most `LONGER_SIDE_PIXELS` on its longer side."""
    with Image.open(locate(shot.source)) as opened:
        image = opened.convert("RGB")
    for edit in shot.edits:
        image = edit(image)
    image.thumbnail((LONGER_SIDE_PIXELS, LONGER_SIDE_PIXELS))
    return image


def locate(source: Source) -> Path:
    """The source's file inside the installed package, without importing the package (which may take a second).

    Raises:
        DemoError: the package is not installed, or a release of it no longer carries the photograph.
    """
    spec = find_spec(source.package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / source.path
        if path.is_file():
            return path
    raise DemoError(
        f"The sample album needs the photograph {source.path} of the package {source.package}, which is not here: "
        "run `pip install 'personalseg[demo]'`, or give a folder of your own photos."
    )
