"""What a prediction is asked about: files, folders, patterns and images in memory.

`sources` turns them into a flat sequence, one item an image, and `read_source` into pixels. What
cannot be read, a mistyped path as well as a damaged file, is an item like any other, so that it
gets its row and the rest are answered.
"""

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from PIL import Image

from emodc.faces.arrays import Pixels, images_of, is_array
from emodc.faces.listing import Skipped, list_folder, summary
from emodc.faces.patterns import is_pattern, matching_files
from emodc.faces.reading import (
    MAX_BYTES,
    check_size,
    decode_image,
    read_image,
    to_rgb,
)
from emodc.support.files import one_line
from emodc.support.text import printable


class Readable(Protocol):
    """A file opened in binary mode."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""


@dataclass(frozen=True)
class Encoded:
    """An image file that lies in memory.

    Attributes:
        name: what messages call it.
        content: its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Unusable:
    """Something that cannot be looked at.

    Attributes:
        name: what was given, shortened.
        reason: one line that says why, and names it.
    """

    name: str
    reason: str


Source = Path | Encoded | Unusable | Image.Image | Pixels
"""One image: its file, its bytes, or itself (an array is (H, W, 3)); or why there is none."""

SourceImage = str | os.PathLike[str] | bytes | bytearray | Readable | Source
"""One thing to look at: a file, a folder, a glob pattern, a data URI, the bytes of an image file,
an open file, a PIL image, or an array or tensor (see `emodc.faces.arrays.images_of`)."""

_DATA_URI = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII)
_ONE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, Encoded, Unusable)
_URL = re.compile(r"([a-z][a-z0-9+.-]{1,20})://", re.IGNORECASE | re.ASCII)
_LONG, _SHOWN = 255, 60  # characters: of a text that is shortened, and what is shown of it


def image_paths(
    paths: Iterable[str | os.PathLike[str]], skipped: Callable[[Skipped], None] | None = None
) -> list[Source]:
    """List the images that paths, folders, glob patterns and data URIs stand for.

    A folder stands for the images in it, not for those in the folders inside; a text is a pattern
    if it has ``*``, ``?`` or ``[`` and no file has that name. A `Path` is never a pattern.

    Args:
        paths: any number.
        skipped: told each file of a folder that is no image, and why.

    Returns:
        Files in natural order, whether they exist or not; an `Unusable` for what stands for none.
    """
    return [source for path in paths for source in _from_path(path, skipped or _ignore)]


def sources(
    images: SourceImage | Iterable[SourceImage],
    skipped: Callable[[Skipped], None] | None = None,
) -> Iterator[Source]:
    """Go through one or many things to look at, image by image.

    This is what both `predict` and `predict_proba` of `emodc.inference.classifier` take.

    Args:
        images: one of them or an iterable. An array of N images is an iterable, too; in a list
            every array is one image.
        skipped: as for `image_paths`.

    Raises:
        ValueError: something is not an image, or an array that could mean two things, when its
            turn comes. What is wrong with a file is no error here: see `read_source`.
    """
    if is_array(images) and len(cast(Any, images).shape) != 1:
        yield from images_of(images)
        return
    is_one = isinstance(images, _ONE) or hasattr(images, "read")
    if not is_one and not isinstance(images, Iterable):
        raise _no_image(images)
    for image in cast(Iterable[SourceImage], [images] if is_one else images):
        yield from _from_one(image, skipped or _ignore)


def read_source(source: Source) -> Pixels:
    """Return an image's pixels, (H, W, 3) RGB, upright.

    Raises:
        ValueError: the image is damaged, missing or none; see `emodc.faces.reading.read_image`.
    """
    if isinstance(source, Path):
        return read_image(source)
    if isinstance(source, Encoded):
        return decode_image(source.content, source.name)
    if isinstance(source, Unusable):
        raise ValueError(source.reason)
    if not isinstance(source, Image.Image):
        return source
    try:
        check_size(source.size, "image")
        return to_rgb(source, "image")
    except (OSError, MemoryError) as error:  # Pillow decodes a file only when it is asked for
        raise ValueError(f"damaged or incomplete image ({one_line(error)})") from error


def source_name(source: Source) -> str | None:
    """Return the path of an image's file, or what was given for it; None for one in memory."""
    if isinstance(source, Path):
        return str(source)
    return source.name if isinstance(source, Unusable) else None


def _from_one(image: Any, skipped: Callable[[Skipped], None]) -> Iterator[Source]:
    if isinstance(image, str | os.PathLike):
        yield from _from_path(image, skipped)
    elif isinstance(image, bytes | bytearray | memoryview):
        yield Encoded("image in memory", bytes(image))
    elif isinstance(image, Image.Image | Encoded | Unusable):
        yield image
    elif hasattr(image, "read"):
        yield _read_stream(image)
    elif is_array(image):
        yield from images_of(image, single=True)
    else:
        raise _no_image(image)


def _no_image(thing: Any) -> ValueError:
    hint = "; give numbers as a numpy array of uint8" if isinstance(thing, list | tuple) else ""
    return ValueError(
        "an image is a path, the bytes of a file, an open file, a PIL image or a uint8 array of "
        f"shape (H, W, 3) or (H, W), not {type(thing).__name__}{hint}"
    )


def _read_stream(stream: Any) -> Source:
    """Return the rest of an open file."""
    given = getattr(stream, "name", None)
    name = printable(given) if isinstance(given, str) else "open file"
    try:
        content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed, or holds no text
        return Unusable(name, f"{name}: cannot be read ({one_line(error)})")
    if not isinstance(content, bytes):
        return Unusable(name, f"{name}: opened as text; open it in binary mode, 'rb'")
    if len(content) > MAX_BYTES:
        return Unusable(name, f"{name}: more than {MAX_BYTES // 1_000_000} megabytes")
    return Encoded(name, content)


def _from_path(
    path: str | os.PathLike[str], skipped: Callable[[Skipped], None]
) -> Iterator[Source]:
    text = os.fsdecode(path)
    literal = not isinstance(path, str)
    if not literal and (special := _special(text)) is not None:
        yield special
        return
    try:
        file = _expanded(text)
    except RuntimeError:
        yield _unusable(text, "there is no such user, whose home folder ~ could stand for")
        return
    # os.path, because methods of Path raise at names that are too long or hold a null character.
    if text and os.path.isdir(file):  # noqa: PTH112
        yield from _images_in(file, skipped)
    elif not literal and is_pattern(text) and not os.path.lexists(file):
        found: list[Source] = [*matching_files(str(file))]
        yield from found or [_unusable(text, "no file matches this pattern, or has this name")]
    elif not (text and os.path.lexists(file)) and (reason := _no_path(text)):
        yield _unusable(text, reason)
    else:
        yield file


def _expanded(text: str) -> Path:
    # A file of this name first: what is called ~backup is no user's home.
    if not text.startswith("~") or os.path.lexists(text):
        return Path(text)
    return Path(text).expanduser()


def _images_in(folder: Path, skipped: Callable[[Skipped], None]) -> Iterator[Source]:
    try:
        listing = list_folder(folder)
    except ValueError as error:
        yield Unusable(printable(str(folder)), str(error))
        return
    if not listing.images:
        held = f" ({summary(listing.skipped, folder)})" if listing.skipped else ""
        pattern = folder / "**" / "*.jpg"
        yield _unusable(
            str(folder),
            f"no images in this folder{held}; for those in the folders inside it, give a pattern "
            f"such as '{printable(str(pattern))}'",
        )
        return
    for item in listing.skipped:
        skipped(item)
    yield from listing.images


def _special(text: str) -> Source | None:
    """Return what a text is that is no path: a data URI or a URL."""
    if start := _DATA_URI.match(text):
        try:
            return Encoded("data URI", base64.b64decode(text[start.end() :], validate=True))
        except (binascii.Error, ValueError) as error:
            return _unusable(text, f"the data URI is not base64 ({one_line(error)})")
    if text.startswith("data:"):
        return _unusable(text, "a data URI of another kind; accepted is data:image/...;base64,...")
    if start := _URL.match(text):
        if os.path.lexists(text):
            return None
        how = "give the path" if start[1].lower() == "file" else "download it and give the file"
        return _unusable(text, f"a URL, which is not opened; {how}, or the bytes of the file")
    return None


def _no_path(text: str) -> str:
    """Return why a text cannot be the name of a file, "" if it can."""
    if "\0" in text:
        return "a file name cannot hold a null character"
    if any(len(os.fsencode(part)) > 255 for part in Path(text).parts) or len(text) > 4095:
        return (
            "too long for a file name; give base64 as a data URI (data:image/png;base64,...) or "
            "the bytes that it stands for"
        )
    return "" if text else "the path is empty"


def _unusable(text: str, reason: str) -> Unusable:
    name = printable(text)
    if len(text) > _LONG:  # no path, but what was meant as an image
        name = f"{printable(text[:_SHOWN])}... ({len(text):,} characters)"
    return Unusable(name, f"{name}: {reason}" if name else reason)


def _ignore(skipped: Skipped) -> None:
    """Say nothing of what is skipped."""
