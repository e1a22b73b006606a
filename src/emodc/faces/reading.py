"""Image files: reading them safely, whatever a user's folder holds.

Every image enters the project through `read_image` or `decode_image`: uint8 RGB, upright, or a
`ValueError` of one line. Nothing here changes Pillow's global settings, but for one: libtiff prints
nothing of its own on stderr.
"""

import ctypes
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from emodc.faces.formats import HEAD, image_format
from emodc.support.files import one_line
from emodc.support.parsing import open_regular, size_of
from emodc.support.text import printable

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused before they are decoded."""

MAX_SIDE = 65_535
"""Images with more pixels a side are refused before they are decoded."""

MAX_BYTES = 800_000_000
"""Larger files are refused unread: 100 megapixels of 16 bits take 600 megabytes."""

MAX_COMPRESSED_BYTES = 256_000_000
"""The same for formats whose decoders take the whole file into memory."""

_READ_WHOLE = frozenset({"WEBP", "AVIF", "HEIF", "JPEG2000"})
_MEGAPIXELS = {"JPEG2000": 40_000_000}  # whose decoder takes 12 bytes a pixel beside the image

# What Pillow raises for damaged files, depending on the format and on where the damage lies.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_ORIENTATION_TAG = 0x0112
_TO_UPRIGHT: Mapping[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}

_STRIP = 256  # rows converted at a time, of `MAX_SIDE` pixels at most


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W) gray or (H, W, 3) RGB as (H, W, 3)."""
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


class _Refused(ValueError):
    """A refusal whose message is already meant for the user."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as upright RGB.

    The EXIF orientation is applied. Gray, palette and CMYK images are converted;
    transparent ones are laid on white, as a page would show them (a cut-out's hidden
    pixels are mostly black, on which hair and outline would vanish). 16-bit and float
    images are scaled to 8 bits, not clipped. Of an animation the first frame counts.

    Args:
        path: a JPEG (MPO as well), PNG, BMP, GIF, TIFF, WebP, AVIF, JPEG 2000 or PPM/PGM file,
            whatever its suffix; with the extra `heic` a HEIC file.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous and writable.

    Raises:
        ValueError: there is no such file, or it is not an image, is damaged, has more than
            `MAX_PIXELS` pixels or `MAX_SIDE` a side, or takes more memory than there is. The
            message is one line and names the file.
    """
    name = printable(str(path))
    # Not by name: Pillow maps some TIFF files into memory then, and scrambles turned ones.
    with open_regular(path) as file, _explained(name):
        return _decode(file, size_of(file), name)


def decode_image(content: bytes, name: str) -> NDArray[np.uint8]:
    """Read an image that lies in memory as `read_image` reads a file.

    Args:
        content: the bytes of an image file.
        name: what error messages call it.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous and writable.

    Raises:
        ValueError: as for `read_image`.
    """
    with _explained(name):
        return _decode(io.BytesIO(content), len(content), name)


def to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Turn an open image into upright RGB, as `read_image` describes.

    Args:
        image: of any mode.
        name: what error messages call it.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous and writable.

    Raises:
        ValueError: float pixels of no known scale.
        OSError: the image's file, decoded only now, is damaged.
    """
    image.load()
    # Not ImageOps.exif_transpose: that also rewrites the EXIF block, and fails on odd ones.
    turn = _TO_UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    if image.mode == "F" or image.mode.startswith("I"):
        rgb = as_rgb(_eight_bit(np.asarray(image), name))
    else:
        rgb = _convert(image)
    return rgb if turn is None else np.ascontiguousarray(turn(rgb))


def _decode(stream: BinaryIO, size: int, name: str) -> NDArray[np.uint8]:
    if size == 0:
        raise _Refused(f"{name}: the file is empty (0 bytes); copy or export it again")
    kind = image_format(stream.read(HEAD))
    if kind is None:
        raise _Refused(f"{name}: not an image in a supported format; convert it to JPEG or PNG")
    limit = MAX_COMPRESSED_BYTES if kind in _READ_WHOLE else MAX_BYTES
    if size > limit:
        raise _Refused(
            f"{name}: {size // 1_000_000} megabytes of {kind}, more than {limit // 1_000_000}; "
            "make a smaller copy of the image"
        )
    stream.seek(0)
    with _open(stream, kind, name) as image:
        check_size(image.size, name, _MEGAPIXELS.get(kind, MAX_PIXELS))
        return to_rgb(image, name)


def _open(stream: BinaryIO, kind: str, name: str) -> Image.Image:
    if kind == "TIFF":
        _silence_libtiff()
    if kind != "HEIF":
        return Image.open(stream, formats=(kind,))
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise _Refused(
            f"{name}: HEIC images need pillow-heif, which is not installed: "
            "pip install pillow-heif (or the extra 'heic'), or convert the image to JPEG"
        ) from None
    # Not register_heif_opener, which changes what every other user of Pillow reads.
    image: Image.Image = HeifImageFile(stream)
    return image


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from printing: what makes an image unreadable, an error of Pillow's says.

    It writes to the process's stderr, past Python, and Pillow has no switch for it. Where Pillow
    was built with the library inside, its functions cannot be found, and it stays as it is.
    """
    with suppress(AttributeError, OSError):
        pillow = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]
        for kind in ("Error", "Warning"):
            pillow[f"TIFFSet{kind}Handler"](None)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever a bad image makes Pillow raise into a refusal of one line."""
    try:
        yield
    except _Refused:
        raise
    except MemoryError as error:
        raise _Refused(
            f"{name}: reading it takes more memory than there is; make a smaller copy of the image"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own limits: they cannot be lifted without a global side effect.
        raise _too_large(name, MAX_PIXELS) from error
    except UnidentifiedImageError as error:  # its message names the stream, not what is wrong
        raise _Refused(
            f"{name}: damaged or incomplete image (its header); copy or export it again"
        ) from error
    except _DAMAGED as error:
        raise _Refused(
            f"{name}: damaged or incomplete image ({one_line(error)}); copy or export it again"
        ) from error


def check_size(size: tuple[int, int], name: str, most: int = MAX_PIXELS) -> None:
    """Refuse an image that would take too much memory, before it is decoded.

    Args:
        size: width and height in pixels, or the other way round.
        name: what the message calls it.
        most: how many pixels it may have.

    Raises:
        ValueError: it has more, or more than `MAX_SIDE` a side.
    """
    if max(size) > MAX_SIDE:
        raise _Refused(
            f"{name}: {max(size):,} pixels a side, more than {MAX_SIDE:,}; "
            "cut the image up, or make a smaller copy"
        )
    if size[0] * size[1] > most:
        raise _too_large(name, most)


def _too_large(name: str, most: int) -> _Refused:
    limit = most // 1_000_000
    return _Refused(f"{name}: more than {limit} megapixels; make a smaller copy of the image")


def _convert(image: Image.Image) -> NDArray[np.uint8]:
    """Convert in strips: Pillow's own copies of a whole 100-megapixel image are 400 MB each."""
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        if strip.has_transparency_data:
            page = Image.new("RGBA", strip.size, "white")
            page.alpha_composite(strip.convert("RGBA"))
            strip = page
        rgb[top : top + _STRIP] = np.asarray(strip.convert("RGB"))
    return rgb


def _eight_bit(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Scale one deep channel (H, W) to uint8, in strips.

    Integer pixels are 16-bit ones (Pillow widens some to 32 bits). Float pixels follow one
    of three conventions, told apart by their range: 0..1, 0..255 or 0..65535.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 65535.0):  # also true for not-a-number
        raise _Refused(
            f"{name}: pixel values from {low:g} to {high:g} have no known scale; "
            "export it as an 8-bit or 16-bit image"
        )
    if values.dtype.kind == "f" and high <= 255.0:
        scale = 255.0 if high <= 1.0 else 1.0
    else:
        scale = 1.0 / 257.0
    gray = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), _STRIP):
        gray[top : top + _STRIP] = np.rint(values[top : top + _STRIP].astype(np.float64) * scale)
    return gray
