"""Which files are images: told by what they hold, not by what they are called."""

import re

HEAD = 64
"""How many bytes from the start of a file tell its format."""

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe"),
        *(".jpeg", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif"),
        *(".tiff", ".webp"),
    }
)
"""Lower-case suffixes of files that count as images unopened: a folder of 100,000 is listed fast,
and one that turns out to be none is reported when it is read."""

# Only plain raster formats: some of Pillow's others start an external program (EPS) or are
# little-used parsers that a hostile file could aim at.
_STARTS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    # The length of one of the known headers: a text may begin with BM.
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "TIFF": rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]",
    "WEBP": rb"RIFF.{4}WEBP",
    "PPM": rb"P[1-6f]\s+[\d#]",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP {2}\r\n\x87\n",
    # ISO media files are told apart by their brands; films are such files, too.
    "AVIF": rb".{4}ftyp(?=.{0,52}avi[fs])(?:avi[fs]|mif1|msf1|miaf)",
    "HEIF": rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
}
_FORMAT = re.compile(
    b"|".join(b"(?P<%s>%s)" % (name.encode(), start) for name, start in _STARTS.items()), re.DOTALL
)


def image_format(head: bytes) -> str | None:
    """Return the format of an image file, as Pillow calls it, or None if it is of none known.

    Args:
        head: its first `HEAD` bytes, or all if there are fewer.
    """
    match = _FORMAT.match(head)
    return None if match is None else match.lastgroup
