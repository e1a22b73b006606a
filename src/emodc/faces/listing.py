"""The images in a folder, and what else lies there: nothing is left out without a word."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emodc.faces.formats import HEAD, IMAGE_SUFFIXES, image_format
from emodc.support.files import one_line
from emodc.support.parsing import open_regular
from emodc.support.text import printable

NOT_AN_IMAGE = "not an image in a supported format"
CLUTTER = "left by an operating system"
HIDDEN = "hidden"
LINK = "a link to a folder, which is not followed"
INSIDE = "in a folder inside; give its path, or a pattern such as 'FOLDER/**/*'"

# What systems, and archives made on them, leave beside the user's files; compared in lower case.
_CLUTTER = frozenset(
    {
        *("__macosx", ".ds_store", ".spotlight-v100", ".trashes", ".fseventsd", ".directory"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("@eadir", "lost+found"),
    }
)


@dataclass(frozen=True)
class Skipped:
    """A file, or a folder with all in it, that is not taken for an image.

    Attributes:
        file: its path.
        reason: why, such as `NOT_AN_IMAGE`.
    """

    file: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        images: the images, in natural order.
        skipped: everything else, in natural order.
    """

    images: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def list_folder(folder: Path, *, recursive: bool = False) -> Listing:
    """List the images of a folder in natural order (2.png before 10.png), and what else is there.

    A file with one of `IMAGE_SUFFIXES` counts as an image unopened; of any other the first bytes
    decide. Files and folders whose name starts with a dot are skipped, as is what operating systems
    leave (``__MACOSX``, ``Thumbs.db``). Links to folders are not followed, so a loop cannot arise.

    Args:
        folder: an existing folder.
        recursive: also list the folders inside.

    Returns:
        Paths that start with ``folder``; the order depends on the names alone.

    Raises:
        ValueError: ``folder`` is missing, not a folder or not readable.
    """
    found = Listing()
    for path, reason in _walk(folder, recursive):
        if not reason and not _is_image(path):
            reason = NOT_AN_IMAGE
        if reason:
            found.skipped.append(Skipped(path, reason))
        else:
            found.images.append(path)
    found.images.sort(key=lambda path: natural_key(path.as_posix()))
    found.skipped.sort(key=lambda skipped: natural_key(skipped.file.as_posix()))
    return found


def list_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the files of a folder, images or not, in natural order.

    Args:
        folder: an existing folder.
        recursive: also list the files of the folders inside.

    Raises:
        ValueError: as for `list_folder`.
    """
    files = [path for path, reason in _walk(folder, recursive) if not reason]
    return sorted(files, key=lambda path: natural_key(path.as_posix()))


def list_folders(parent: Path) -> list[Path]:
    """Return the folders inside a folder, in natural order, without those that are ignored.

    Raises:
        ValueError: it cannot be listed.
    """
    try:
        with os.scandir(parent) as found:
            names = [entry.name for entry in found if entry.is_dir()]
    except (OSError, ValueError) as error:  # ValueError: the path holds a null character
        raise ValueError(
            f"{printable(str(parent))}: cannot list this folder ({one_line(error)})"
        ) from error
    visible = [name for name in names if not is_ignored(name)]
    return [parent / name for name in sorted(visible, key=natural_key)]


def is_clutter(name: str) -> bool:
    """Tell whether a file or folder of this name is an operating system's, not the user's."""
    return name.startswith("._") or name.lower() in _CLUTTER


def is_ignored(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or `is_clutter`."""
    return name.startswith(".") or is_clutter(name)


def natural_key(text: str) -> tuple[list[tuple[str, int, str]], str]:
    """Return a sort key that compares runs of digits as numbers and ignores case.

    Texts that differ only in case or leading zeros are told apart by the text itself, so
    the order of distinct texts never depends on the order they come in.
    """
    pairs = re.findall(r"([^0-9]*)([0-9]*)", text.casefold())
    # Not as int: a name of thousands of digits is refused there.
    numbers = ((letters, digits and digits.lstrip("0"), digits) for letters, digits in pairs)
    return [(letters, len(n) if digits else -1, n) for letters, n, digits in numbers], text


def summary(skipped: Sequence[Skipped], folder: Path | None = None) -> str:
    """Return one line that counts what was skipped by reason, with an example of each.

    Args:
        skipped: at least one.
        folder: what the examples' paths are shown relative to.
    """
    counts = Counter(item.reason for item in skipped)
    parts = []
    for reason, count in counts.items():
        file = next(item.file for item in skipped if item.reason == reason)
        inside = folder is not None and file.is_relative_to(folder)
        shown = printable(str(file.relative_to(folder) if folder and inside else file))
        more = f" and {count - 1:,} more" if count > 1 else ""
        parts.append(f"{shown}{more} ({reason})")
    return f"skipped {'; '.join(parts)}"


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with open_regular(path) as file:
            return image_format(file.read(HEAD)) is not None
    except (ValueError, OSError):
        return False


def _walk(folder: Path, recursive: bool) -> Iterator[tuple[Path, str]]:
    """Yield what the folder holds, each with why it is skipped, "" if it is not."""

    def refuse(error: OSError) -> None:
        name = printable(str(error.filename))
        raise ValueError(f"{name}: cannot list this folder ({error.strerror})")

    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises at overlong names)
        problem = "not a folder" if os.path.exists(folder) else "no such folder"  # noqa: PTH110
        raise ValueError(f"{printable(str(folder))}: {problem}; give a folder of images")
    for parent, folders, files in os.walk(folder, onerror=refuse):
        for name in files:
            yield Path(parent, name), _why_ignored(name)
        entered = []
        for name in folders:
            path = Path(parent, name)
            reason = _why_ignored(name) or (LINK if path.is_symlink() else "")
            if reason or not recursive:
                yield path, reason or INSIDE
            else:
                entered.append(name)
        folders[:] = entered


def _why_ignored(name: str) -> str:
    return CLUTTER if is_clutter(name) else HIDDEN if name.startswith(".") else ""
