"""Any kind of pixels to 8-bit sRGB: alpha over white, 16 bits scaled, palettes looked up, colour profiles obeyed."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image, ImageCms

Convert = Callable[[Image.Image], Image.Image]

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_FLAT_MODE = {
    **dict.fromkeys(("1", "L", "LA", "La", *_SIXTEEN_BIT_MODES), "L"),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "HSV"), "RGB"),
    "CMYK": "CMYK",
    "LAB": "LAB",
}
_SPACE_OF_MODE = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}


def flat_mode(image: Image.Image) -> str | None:
    """The 8-bit mode without alpha that holds these pixels; None for a kind that no photo has (floating point)."""
    return _FLAT_MODE.get(image.mode)


def to_srgb(image: Image.Image) -> Convert | None:
    """What turns a part of this picture into RGB; None where it is plain RGB already."""
    mode = flat_mode(image)
    assert mode is not None, image.mode
    profile = _profile_of(image)
    if mode == "L" and profile is not None and _space(profile) == "RGB ":
        mode = "RGB"  # a grey picture that was saved with the profile of a screen
    if profile is not None and _space(profile) != _SPACE_OF_MODE[mode]:
        profile = None
    if profile is None and mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    transform = None if profile is None else _transform(profile, mode)
    if transform is None and image.mode == "RGB" and "transparency" not in image.info:
        return None
    return lambda part: _apply(transform, _flat(part, mode))


def _profile_of(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        is_srgb = ImageCms.getProfileDescription(profile).strip().startswith("sRGB")
    except Exception:  # a broken profile is no profile
        return None
    return None if is_srgb else profile


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    return str(profile.profile.xcolor_space)


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except ImageCms.PyCMSError:
        return None


def _apply(transform: ImageCms.ImageCmsTransform | None, part: Image.Image) -> Image.Image:
    if transform is None:
        return part.convert("RGB")
    converted = ImageCms.applyTransform(part, transform)
    assert converted is not None
    return converted


def _flat(part: Image.Image, mode: str) -> Image.Image:
    if part.mode in _SIXTEEN_BIT_MODES:
        # Pillow clips 16 bits at 255 instead of scaling them. 65535 = 255 × 257.
        part = part.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if part.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in part.info:
        return _on_white(part, mode)
    return part if part.mode == mode else part.convert(mode)


def _on_white(part: Image.Image, mode: str) -> Image.Image:
    with_alpha = part.convert("LA" if mode == "L" and part.mode in ("LA", "La") else "RGBA")
    white = Image.new(mode, part.size, "white")
    white.paste(with_alpha.convert(mode), mask=with_alpha.getchannel("A"))
    return white
