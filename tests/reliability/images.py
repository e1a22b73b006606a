"""Mutated images of every format that is read."""

import io
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from tests.reliability.mutations import damaged

FORMATS: Mapping[str, Mapping[str, Any]] = {
    "PNG": {},
    "JPEG": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {},
    "PPM": {},
    "AVIF": {"speed": 10},
    "JPEG2000": {},
    "MPO": {},
}

MODES = ("RGB", "L", "P", "RGBA", "I;16")


@cache
def whole_image(kind: str, mode: str) -> bytes:
    """Return an undamaged image of 37x29 pixels; RGB where the format knows no such mode."""
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (29, 37), dtype=np.uint16))
    else:
        smooth = np.add.outer(np.arange(29), np.arange(37))[:, :, None] * (3, 2, 1, 4) % 256
        image = Image.fromarray(smooth.astype(np.uint8), "RGBA").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if kind in ("BMP", "PPM", "GIF") else {"exif": exif}
    for attempt in (image, image.convert("RGB") if mode != "I;16" else image.convert("L")):
        stream = io.BytesIO()
        try:
            attempt.save(stream, kind, **FORMATS[kind], **options)
        except (OSError, ValueError, KeyError):
            continue
        return stream.getvalue()
    raise AssertionError(f"{kind} holds neither {mode} nor RGB")


def damaged_image(rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a name and the bytes of a damaged image of any format; for `campaign.Campaign`."""
    kind = list(FORMATS)[int(rng.integers(len(FORMATS)))]
    mode = MODES[int(rng.integers(len(MODES)))]
    how, content = damaged(whole_image(kind, mode), rng)
    return f"{kind} {mode}: {how}", content


def huge_header(kind: str, width: int, height: int) -> bytes:
    """Return the start of an image that promises this size."""
    return _HEADERS[kind](width, height)


def _png(width: int, height: int) -> bytes:
    stream = bytearray(whole_image("PNG", "L"))
    stream[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    stream[29:33] = zlib.crc32(stream[12:29]).to_bytes(4, "big")
    return bytes(stream)


def _bmp(width: int, height: int) -> bytes:
    stream = bytearray(whole_image("BMP", "RGB"))
    stream[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return bytes(stream)


def _gif(width: int, height: int) -> bytes:
    stream = bytearray(whole_image("GIF", "P"))
    stream[6:10] = min(width, 65535).to_bytes(2, "little") + min(height, 65535).to_bytes(
        2, "little"
    )
    return bytes(stream)


_HEADERS: Mapping[str, Callable[[int, int], bytes]] = {
    "PNG": _png,
    "BMP": _bmp,
    "PPM": lambda width, height: b"P6 %d %d 255\n" % (width, height),
}
