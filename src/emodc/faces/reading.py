"""Image files: listing them and reading them safely, whatever a user's folder holds.

Every image enters the project through `read_image` or `decode_image`: uint8 RGB, upright, or a
`ValueError` of one line. Nothing here changes Pillow's global settings.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from emodc.support.files import one_line

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Lower-case suffixes of the files taken for images when a folder is listed."""

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused before they are decoded."""

# Only plain raster formats: some of Pillow's others start an external program (EPS) or are
# little-used parsers that a hostile file could aim at.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

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
    NotImplementedError,
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

_STRIP = 256  # rows converted at a time


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
        path: a JPEG, PNG, BMP, GIF, TIFF, WebP or PPM/PGM file, whatever its suffix.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous and writable.

    Raises:
        ValueError: there is no such file, or it is not an image, is damaged, or has more
            than `MAX_PIXELS` pixels. The message is one line and names the file.
    """
    with _explained(str(path)):
        _check_regular_file(path)
        # Not by name: Pillow maps some TIFF files into memory then, and scrambles turned ones.
        with path.open("rb") as file:
            return _decode(file, str(path))


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
        if not content:
            raise _empty(name)
        return _decode(io.BytesIO(content), name)


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


def list_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the visible files of a folder in natural order (2.png before 10.png).

    Files and folders whose name starts with a dot (.DS_Store, ._copies) are skipped, and
    links to folders are not followed, so a loop cannot arise.

    Args:
        folder: an existing folder.
        recursive: also list the files of the folders inside.

    Returns:
        Paths that start with ``folder``; the order depends on the names alone.

    Raises:
        ValueError: ``folder`` is missing, not a folder or not readable.
    """
    return sorted(_walk(folder, recursive), key=lambda path: natural_key(path.as_posix()))


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the image files of a folder: `list_files` with one of `IMAGE_SUFFIXES`.

    Args:
        folder: an existing folder.
        recursive: also list the images in the folders inside.

    Returns:
        Paths that start with ``folder``, in natural order; empty if there is no image.

    Raises:
        ValueError: ``folder`` is missing, not a folder or not readable.
    """
    return [
        path
        for path in list_files(folder, recursive=recursive)
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]


def natural_key(text: str) -> tuple[list[tuple[str, int]], str]:
    """Return a sort key that compares runs of digits as numbers and ignores case.

    Texts that differ only in case or leading zeros are told apart by the text itself, so
    the order of distinct texts never depends on the order they come in.
    """
    pairs = re.findall(r"([^0-9]*)([0-9]*)", text.casefold())
    return [(letters, int(digits or -1)) for letters, digits in pairs], text


def _check_regular_file(path: Path) -> None:
    """Refuse what must not reach `open`: a folder, a pipe that would block, an empty file."""
    if path.is_dir():
        raise _Refused(f"{path}: a folder, not an image; name a file inside it")
    if not path.exists():
        raise _Refused(f"{path}: no such file; check the path")
    if not path.is_file():
        raise _Refused(f"{path}: not a regular file; give an image file")
    if path.stat().st_size == 0:
        raise _empty(str(path))


def _decode(stream: BinaryIO, name: str) -> NDArray[np.uint8]:
    with Image.open(stream, formats=_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(name)
        return to_rgb(image, name)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever a bad image makes Pillow raise into a refusal of one line."""
    try:
        yield
    except _Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own limits: they cannot be lifted without a global side effect.
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise _Refused(
            f"{name}: not an image in a supported format; convert it to JPEG or PNG"
        ) from error
    except PermissionError as error:
        raise _Refused(f"{name}: no permission to read it; change its access rights") from error
    except _DAMAGED as error:
        reason = one_line(error)
        raise _Refused(
            f"{name}: damaged or incomplete image ({reason}); copy or export it again"
        ) from error


def _empty(name: str) -> _Refused:
    return _Refused(f"{name}: the file is empty (0 bytes); copy or export it again")


def _too_large(name: str) -> _Refused:
    limit = MAX_PIXELS // 1_000_000
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
    """Scale one deep channel (H, W) to uint8.

    Integer pixels are 16-bit ones (Pillow widens some to 32 bits). Float pixels follow one
    of three conventions, told apart by their range: 0..1, 0..255 or 0..65535.
    """
    deep = values.astype(np.float64)
    low, high = float(deep.min()), float(deep.max())
    if not (low >= 0.0 and high <= 65535.0):  # also true for not-a-number
        raise _Refused(
            f"{name}: pixel values from {low:g} to {high:g} have no known scale; "
            "export it as an 8-bit or 16-bit image"
        )
    if values.dtype.kind == "f" and high <= 255.0:
        scale = 255.0 if high <= 1.0 else 1.0
    else:
        scale = 1.0 / 257.0
    return np.rint(deep * scale).astype(np.uint8)


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: cannot list this folder ({error.strerror})")

    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise ValueError(f"{folder}: {problem}; give a folder of images")
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))
